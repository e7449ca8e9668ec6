"""`i4d view RUN`: the field in the browser. Time first: slider and play; then cameras with their pictures,
before and after, rounds.

The server listens on the loopback unless told otherwise. Pictures are rendered small while the camera moves
and finer when it rests, so it works without a GPU.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from i4d.errors import ConfigError, I4DError
from i4d.report.viewing import LOOKS, Look, RunViews, as_finder, fitting_fov, pinhole, stands_at, vertical_fov
from i4d.types import Camera

COARSEST = 8  # pictures begin at an eighth of their height
FOLLOW_S = 2.0  # how often a running run is asked for new rounds


def _viser() -> Any:
    try:
        import viser
    except ImportError:
        raise ConfigError(
            "i4d view needs viser, which is not installed", 'pip install "i4d[viewer]"'
        ) from None
    return viser


class Viewer:
    """One run in a viser server."""

    def __init__(
        self, views: RunViews, host: str = "127.0.0.1", port: int = 8080, height: int = 0, quiet: bool = True
    ) -> None:
        """`height`: of rendered pictures in pixels; 0: that of the scene's cameras, at most 720. ConfigError:
        the port is taken.
        """
        viser = _viser()
        self.views = views
        self._from_rotation = viser.transforms.SO3.from_matrix
        self.height = height or min(720, views.scene.cameras[0].height)
        try:
            self.server = viser.ViserServer(host=host, port=port, verbose=not quiet)
        except OSError as err:
            raise ConfigError(f"--port {port}: {err.strerror or err}", "choose another --port") from None
        self._closed = threading.Event()
        self._painters: dict[int, Painter] = {}
        self._trouble = ""  # what went wrong with the last picture; empty once one was painted
        self._build()
        self.server.on_client_connect(self._welcome)
        self.server.on_client_disconnect(self._farewell)
        threading.Thread(target=self._clock, name="view-clock", daemon=True).start()
        threading.Thread(target=self._follow, name="view-follow", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def close(self) -> None:
        """Stop painting and serving."""
        self._closed.set()
        for painter in self._painters.values():
            painter.close()
        self.server.stop()

    # ------------------------------------------------------------------------------------------ page
    def _build(self) -> None:
        gui, scene = self.server.gui, self.views.scene
        self.server.scene.set_up_direction(
            tuple(-np.mean([c.world_from_camera[:3, 1] for c in scene.cameras], 0))
        )
        self.frame = gui.add_slider(
            "Frame", 0, max(1, scene.num_frames - 1), 1, 0, disabled=scene.num_frames < 2
        )
        self.playing = gui.add_checkbox("Play", False)
        self.speed = gui.add_slider("Frames per second", 1, 60, 1, max(1, round(min(scene.fps, 60))))
        rounds = self.views.rounds()
        self.look = gui.add_button_group("Show", [look.capitalize() for look in LOOKS])
        self.chosen_look: Look = "after" if len(rounds) > 1 else "before"
        self.round = gui.add_dropdown("Round", [str(r) for r in rounds], initial_value=str(rounds[-1]))
        self.photos = gui.add_checkbox("Cameras", False)
        names = [c.name for c in scene.cameras]
        self.go = gui.add_dropdown(
            "Look through", names, initial_value=names[(scene.held_out_views or (0,))[0]]
        )
        self.status = gui.add_markdown(self._about())
        self._frustums = [self._frustum(view, _spacing(scene.cameras)) for view in range(len(names))]
        self.frame.on_update(lambda _: self._redraw())
        self.round.on_update(lambda _: self._changed())
        self.look.on_click(self._choose_look)
        self.photos.on_update(lambda _: self.show_photos())
        self.go.on_update(lambda event: self._fly(event.client))

    def _about(self) -> str:
        """Return what is shown and, of a run that is still going, where it stands."""
        prompt, index = self.views.footage.request.prompt, int(self.round.value)
        said = f"“{prompt}”" if prompt else "not edited"
        shown = f"Showing **{self.chosen_look}**, round {index} of {self.round.options[-1]}"
        if index == 0:
            shown = "Showing **before** the edit (round 0)"
        going = (
            f"\n\nThe run goes on: {self.views.landing.standing().line()}." if self.views.run.driven() else ""
        )
        trouble = f"\n\n**This picture failed:** {self._trouble}" if self._trouble else ""
        return f"**{self.views.scene.name}**: {said}. {shown}.{going}{trouble}"

    def tell_trouble(self, err: Exception | None) -> None:
        """Show in the browser what went wrong with a picture; None: it was painted."""
        kind = "" if isinstance(err, I4DError) else f"{type(err).__name__}: "
        trouble = "" if err is None else kind + " ".join(str(err).split())
        if trouble != self._trouble:
            self._trouble = trouble
            self.status.content = self._about()

    def _photo(self, view: int) -> np.ndarray:
        return self.views.photo(view, int(self.frame.value), self.chosen_look, int(self.round.value))

    def _frustum(self, view: int, size: float) -> Any:
        camera, scene = self.views.scene.cameras[view], self.views.scene
        rotation = self._from_rotation(camera.world_from_camera[:3, :3])
        held_out = view in scene.held_out_views
        handle = self.server.scene.add_camera_frustum(
            f"/cameras/{camera.name}",
            fov=vertical_fov(camera),
            aspect=camera.width / camera.height,
            scale=size,
            visible=False,
            image=self._photo(view),
            wxyz=rotation.wxyz,
            position=camera.centre,
            color=(230, 140, 30) if held_out else (60, 120, 220),
            thickness=1.0,
            thickness_units="screen",
        )

        @handle.on_click
        def _(event: Any) -> None:
            self.go.value = camera.name
            self._fly(event.client)

        return handle

    # ------------------------------------------------------------------------------------------ controls
    def _choose_look(self, event: Any) -> None:
        self.chosen_look = event.target.value.lower()
        self._changed()

    def _changed(self) -> None:
        self.status.content = self._about()
        self._redraw()

    def _redraw(self) -> None:
        self.show_photos()
        for painter in list(self._painters.values()):
            painter.ask()

    def show_photos(self) -> None:
        """Show the cameras with their pictures, or none, as is chosen; not the one that somebody looks
        through.
        """
        looked_through = {
            painter.stands_at for painter in self._painters.values()
        }  # its picture would hide the field
        for view, handle in enumerate(self._frustums):
            handle.visible = self.photos.value and self.views.scene.cameras[view].name not in looked_through
            if handle.visible:
                handle.image = self._photo(view)

    def camera_of(self, name: str, frame: int) -> Camera:
        """Return a camera of the scene by name, where it stands at a frame."""
        return next(c for c in self.views.scene.cameras if c.name == name).at(frame)

    def _fly(self, client: Any) -> None:
        camera = self.camera_of(self.go.value, int(self.frame.value))
        for each in [client] if client is not None else self.server.get_clients().values():
            with each.atomic():
                each.camera.wxyz = self._from_rotation(camera.world_from_camera[:3, :3]).wxyz
                each.camera.position = camera.centre
                each.camera.look_at = (
                    camera.centre + camera.world_from_camera[:3, 2] * self.views.scene.bounds.unit
                )
                each.camera.fov = fitting_fov(camera, each.camera.aspect)

    # ------------------------------------------------------------------------------------------ threads
    def _welcome(self, client: Any) -> None:
        painter = Painter(self, client)
        self._painters[client.client_id] = painter
        client.camera.on_update(lambda _: painter.ask())
        self._fly(client)
        painter.ask()

    def _farewell(self, client: Any) -> None:
        painter = self._painters.pop(client.client_id, None)
        if painter is not None:
            painter.close()

    def _clock(self) -> None:
        while not self._closed.wait(1 / float(self.speed.value)):
            if self.playing.value and self.views.scene.num_frames > 1:
                self.frame.value = (int(self.frame.value) + 1) % self.views.scene.num_frames

    def _follow(self) -> None:
        while not self._closed.wait(FOLLOW_S):
            try:
                self._look_again()
            except Exception as err:  # a run folder that is moved or cleaned up: told, and looked at again
                self.tell_trouble(err)

    def _look_again(self) -> None:
        told, committed = self.views.landing.refresh(), self.views.refresh()
        if committed:
            rounds = [str(r) for r in self.views.rounds()]
            at_the_end = self.round.value == self.round.options[-1]
            gone = self.round.value not in rounds
            self.round.options = tuple(rounds)
            if at_the_end or gone:
                self.round.value = rounds[-1]
                self.chosen_look = "after"
            self._changed()
        elif told or self.status.content != self._about():  # the driver has ended
            self.status.content = self._about()
            self.show_photos()


class Painter:
    """Paints the view of one browser: small at once, finer while nothing changes."""

    def __init__(self, viewer: Viewer, client: Any) -> None:
        self._viewer, self._client = viewer, client
        self._wanted, self._closed = threading.Event(), False
        self.stands_at = ""  # the camera that is looked through, by name
        self.painted = 0  # pictures brought to their full size
        threading.Thread(target=self._paint, name=f"view-{client.client_id}", daemon=True).start()

    def ask(self) -> None:
        """Say that what is on the screen is out of date."""
        self._wanted.set()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._wanted.set()

    def _paint(self) -> None:
        while True:
            self._wanted.wait()
            if self._closed:
                return
            self._wanted.clear()
            scale = COARSEST
            while scale >= 1 and not self._wanted.is_set():
                try:
                    self._once(max(1, self._viewer.height // scale))
                except Exception as err:  # a round whose field went, no memory: the next picture may be there
                    self._viewer.tell_trouble(err)
                    break
                if scale == 1:
                    self.painted += 1
                    self._viewer.tell_trouble(None)
                scale //= 2

    def _once(self, height: int) -> None:
        viewer, seen = self._viewer, self._client.camera
        pose = np.eye(4)
        pose[:3, :3] = _rotation(seen.wxyz)
        pose[:3, 3] = seen.position
        camera, frame = pinhole(seen.fov, seen.aspect, height, pose), int(viewer.frame.value)
        image = viewer.views.render(camera, frame, int(viewer.round.value), viewer.chosen_look)
        through = viewer.camera_of(viewer.go.value, frame)
        before, self.stands_at = (
            self.stands_at,
            viewer.go.value if stands_at(camera, through, viewer.views.scene.bounds.unit) else "",
        )
        if self.stands_at:
            image = as_finder(image, camera, through)
        if before != self.stands_at:
            viewer.show_photos()
        if self._closed:
            return
        self._client.scene.set_background_image(image, format="jpeg")


def _spacing(cameras: Sequence[Camera]) -> float:
    """Return a size for frustums in world units: a quarter of the median distance to the next camera, so that
    they stand apart.
    """
    centres = np.stack([c.centre for c in cameras])
    if len(centres) < 2:
        return 0.1
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1)
    np.fill_diagonal(apart, np.inf)
    return 0.25 * max(float(np.median(apart.min(1))), 1e-6)


def _rotation(wxyz: np.ndarray) -> np.ndarray:
    """Return the matrix of a unit quaternion (w, x, y, z)."""
    w, x, y, z = np.asarray(wxyz, dtype=np.float64) / np.linalg.norm(wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def serve(views: RunViews, host: str, port: int, height: int, say: Callable[[str], None]) -> None:
    """Show a run until Ctrl-C."""
    viewer = Viewer(views, host, port, height)
    say(f"viewer: {viewer.url} (Ctrl-C ends it)")
    if host not in ("127.0.0.1", "localhost", "::1"):
        say("note: anybody who reaches this address can look; the loopback and an SSH tunnel are safer")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        viewer.close()
