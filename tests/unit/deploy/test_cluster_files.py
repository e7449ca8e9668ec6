"""The files in cluster/: checked against Ray's own schema, the shell, a real Slurm, and what KubeRay and
Docker ask for.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from i4d import __version__

CLUSTER = Path(__file__).parents[3] / "cluster"
SCRIPTS = [CLUSTER / "slurm" / "i4d.sbatch", CLUSTER / "single-host" / "start.sh"]
PINNED_RAY = "2.60.0"


def read(path):
    return yaml.safe_load((CLUSTER / path).read_text())


@pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
def test_ray_up_files_are_what_ray_accepts(name):
    import ray
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = read(f"cloud/{name}.yaml")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(read(f"cloud/{name}.yaml")))
    for command in (config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]):
        assert "RAY_AUTH_MODE=token" in command and "--disable-usage-stats" in command
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    broken = {**config, "provider": {}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def pods(cluster):
    yield cluster["headGroupSpec"]
    yield from cluster["workerGroupSpecs"]


@pytest.mark.parametrize(
    "path, kind", [("kubernetes/rayjob.yaml", "RayJob"), ("kubernetes/raycluster.yaml", "RayCluster")]
)
def test_kuberay_files_have_what_the_operator_needs(path, kind):
    """By structure: KubeRay's own schema is in no package, so fields are checked against the list of those
    that i4d uses.
    """
    tree = read(path)
    assert (tree["apiVersion"], tree["kind"]) == ("ray.io/v1", kind)
    job = {
        "entrypoint",
        "metadata",
        "submissionMode",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "backoffLimit",
    }
    job.add("rayClusterSpec")
    cluster = tree["spec"]["rayClusterSpec"] if kind == "RayJob" else tree["spec"]
    assert set(tree["spec"]) <= (job if kind == "RayJob" else set(cluster))
    known = {
        "rayVersion",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    }
    assert set(cluster) <= known and cluster["rayVersion"] == PINNED_RAY
    for group in pods(cluster):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), (
            "KubeRay takes strings only"
        )
        (container,) = group["template"]["spec"]["containers"]
        env = {entry["name"]: entry for entry in container["env"]}
        assert (
            env["RAY_AUTH_MODE"]["value"] == "token" and "secretKeyRef" in env["RAY_AUTH_TOKEN"]["valueFrom"]
        )
        assert container["image"].endswith(f":{__version__}") and container["securityContext"]["runAsNonRoot"]
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in group["template"]["spec"]["volumes"]}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_parse(script):
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "set -euo pipefail" in script.read_text()


def test_a_real_slurm_accepts_the_batch_file():
    if shutil.which("sbatch") is None or subprocess.run(["sinfo"], capture_output=True).returncode:
        pytest.skip("no Slurm answers here (SLURM_CONF)")
    command = [
        "sbatch",
        "--test-only",
        "--nodes=1",
        "--cpus-per-task=1",
        "--gpus-per-node=0",
        str(SCRIPTS[0]),
        "doctor",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "to start at" in done.stderr, done.stderr


def test_the_dockerfile_keeps_the_usual_rules():
    """The rules of hadolint that matter: pinned base, no sudo, no cache left, lists removed, a user that is
    not root, exec form.
    """
    text = (CLUSTER / "docker" / "Dockerfile").read_text()
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    steps = [line.split(maxsplit=1)[0] for line in lines]
    assert steps[0] == "FROM" and not re.search(r":latest|FROM [^:]+$", lines[0])
    assert set(steps) <= {
        "FROM",
        "ARG",
        "SHELL",
        "RUN",
        "WORKDIR",
        "COPY",
        "ENV",
        "USER",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    runs = [line for line in lines if line.startswith("RUN")]
    assert not any(
        word in run
        for run in runs
        for word in ("sudo", "curl |", "chmod 777", "apt upgrade", "apt-get upgrade")
    )
    for run in runs:
        assert "apt-get install" not in run or (
            "--no-install-recommends" in run and "--yes" in run and "rm -rf /var/lib/apt/lists" in run
        )
        assert "pip install" not in run or "--no-cache-dir" in run
    assert [line for line in lines if line.startswith("USER")][-1].split()[1] not in ("root", "0")
    assert steps.index("USER") > max(i for i, step in enumerate(steps) if step == "COPY")
    assert all(
        line.split(maxsplit=1)[1].startswith("[") for line in lines if line.startswith(("CMD", "ENTRYPOINT"))
    )
    for line in lines:
        if line.startswith("COPY"):
            assert (CLUSTER.parent / line.split()[1]).exists() and (
                CLUSTER.parent / line.split()[-2]
            ).exists()


def test_every_folder_has_its_page_with_up_check_and_down():
    folders = [path for path in CLUSTER.iterdir() if path.is_dir()]
    assert {folder.name for folder in folders} >= {
        "single-host",
        "cloud",
        "kubernetes",
        "slurm",
        "docker",
        "monitoring",
    }
    for folder in folders:
        page = (folder / "README.md").read_text()
        assert all(f"**{word}.**" in page for word in ("Up", "Check", "Down")), folder.name
        for name in re.findall(r"cluster/[\w./-]+\.(?:yaml|yml|sh|sbatch|json|service)", page):
            assert (CLUSTER.parent / name).exists(), name


def test_no_token_or_key_stands_in_a_file():
    for path in CLUSTER.rglob("*"):
        if path.is_file():
            assert not re.search(
                r"AKIA[0-9A-Z]{16}|[0-9a-f]{64}|BEGIN [A-Z ]*PRIVATE KEY", path.read_text()
            ), path
