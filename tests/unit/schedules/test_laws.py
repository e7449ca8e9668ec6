"""Laws of plans: those of the package obey them, whatever the scene; each law is found broken."""

import dataclasses
import itertools

import pytest
from null_rig import SETTINGS, config, scene

from i4d.errors import ConfigError
from i4d.pairs import Source, WindowSources
from i4d.schedules.laws import check
from i4d.schedules.registry import METHODS, scheduled_plan

OWN = ("key_frame", "key_views", "adaptive", "each_frame", "in2n")


def plan_of(method="key_frame", views=4, settings=SETTINGS, **keys):
    return scheduled_plan(scene(views), config(method=method, diffusion_steps=3, **keys), settings)


def test_the_packages_own_methods_come_first():
    assert tuple(METHODS.places())[: len(OWN)] == OWN


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("flow", ["dis", "none"])
@pytest.mark.parametrize("views, key_frame", [*itertools.product((2, 4, 9), (0, 3, 7))])
def test_every_method_obeys_the_laws(method, flow, views, key_frame):
    settings = dataclasses.replace(SETTINGS, flow=flow, blend=1)
    plan = plan_of(method, views, settings, key_frame=key_frame, references="both", forwards=2000)
    check(plan)
    flows = [pair for part in plan.rounds for c in part.chains for w in c.windows for pair in w.flows]
    assert bool(flows) == (flow != "none" and method not in ("each_frame", "in2n"))


def with_window(plan, change, view=None):
    """Return a plan with the second window of a view's first chain changed."""
    part = plan.rounds[0]
    view = part.chains[0].view if view is None else view
    chains = list(part.chains)
    place = next(i for i, chain in enumerate(chains) if chain.view == view)
    first, second, *rest = chains[place].windows
    chains[place] = dataclasses.replace(chains[place], windows=(first, change(second), *rest))
    return dataclasses.replace(plan, rounds=(dataclasses.replace(part, chains=tuple(chains)),))


def pulling(*pulled, averaged=()):
    return lambda window: dataclasses.replace(window, sources=WindowSources(pulled, averaged))


def put(**changes):
    return lambda window: dataclasses.replace(window, **changes)


@pytest.mark.parametrize(
    "change, told",
    [
        (put(frames=(5, 6)), "edited once a round"),
        (put(frames=(6, 3)), "the key frame before the windows"),
        (put(frames=(8,)), "frames are 0 to 7"),
        (put(frames=()), "its reference"),
        (put(reference_frame=4), "its reference is the key frame, or the last frame"),
        (put(index=0), "different indices"),
        (pulling(Source(1, 4, "flow")), "by flow come its reference and the key frame"),
        (pulling(Source(2, 3, "flow")), "by flow come its reference and the key frame of its own view"),
        (pulling(Source(1, None, "depth")), "by depth come windows of other views"),
        (pulling(Source(0, None, "depth")), "by depth come windows of other views"),
        (pulling(averaged=((0, 0),)), "averaged are pairs"),
        (pulling(averaged=((-1, 2),)), "averaged are pairs"),
    ],
)
def test_each_law_is_found_broken(change, told):
    plan = plan_of(rounds=1, sequence_length=2, key_frame=3)
    check(plan)
    with pytest.raises(ConfigError, match=told):
        check(with_window(plan, change))


def test_views_that_are_seen_by_depth_see_no_others():
    plan = plan_of(rounds=1, sequence_length=2, key_frame=3)
    seeing = with_window(plan, pulling(Source(2, None, "depth")), view=1)
    check(seeing)
    assert seeing.rounds[0].shown == {2} and seeing.rounds[0].in_depth == {1, 2}
    with pytest.raises(ConfigError, match="that see no others"):
        check(with_window(seeing, pulling(Source(1, None, "depth")), view=2))


def test_what_follows_a_key_frame_needs_one():
    led, updating = plan_of("key_views", rounds=1), plan_of("in2n", forwards=2000)
    (part,), (updates,) = led.rounds, updating.rounds
    for wrong, told in (
        (dataclasses.replace(part, key_steps=(), rest=()), "follow a key frame"),
        (dataclasses.replace(plan_of().rounds[0], key_steps=()), "follow a key frame"),
        (dataclasses.replace(part, updates=updates.updates), "neither key frame nor windows"),
    ):
        with pytest.raises(ConfigError, match=told):
            check(dataclasses.replace(led, rounds=(wrong,)))


def test_rounds_views_and_flow_are_checked():
    plan = plan_of(rounds=2)
    for wrong, told in (
        (dataclasses.replace(plan, rounds=plan.rounds[::-1]), "counted from 1"),
        (dataclasses.replace(plan, cameras=plan.cameras[:-1]), "3 views with 2 cameras"),
        (dataclasses.replace(plan, views=(1, 2), cameras=plan.cameras[:2]), "view 3: it is not edited"),
        (
            dataclasses.replace(plan, settings=dataclasses.replace(SETTINGS, flow="none")),
            "flow.method is none",
        ),
    ):
        with pytest.raises(ConfigError, match=told):
            check(wrong)
