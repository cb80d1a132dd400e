"""What is shipped for clusters, as far as it can be checked without one."""

import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "cluster" / "deploy"


@pytest.fixture
def manifests():
    return {path.stem: yaml.safe_load(path.read_text()) for path in DEPLOY.glob("*.yaml")}


def cluster_spec(manifest):
    return manifest["spec"] if manifest["kind"] == "RayCluster" else manifest["spec"]["rayClusterSpec"]


def test_the_manifests_are_what_ray_s_own_parser_of_them_expects(manifests):
    """Ray's autoscaler reads the same object that KubeRay does."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    assert set(manifests) == {"kuberay-cluster", "kuberay-job"}
    for manifest in manifests.values():
        resource = {"metadata": {"name": "flywheel", "namespace": "default"}, "spec": cluster_spec(manifest)}
        found = _derive_autoscaling_config_from_ray_cr(resource)
        types = found["available_node_types"]
        assert types["gpu"]["resources"]["GPU"] == 8 and types["gpu"]["max_workers"] == 8
        (head,) = [kind for name, kind in types.items() if name != "gpu"]
        assert head["resources"].get("CPU", 0) == 0, "no engine on the head"


def test_nothing_is_open_and_nothing_is_baked_in(manifests):
    for manifest in manifests.values():
        spec = cluster_spec(manifest)
        pods = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
        for pod in pods:
            (container,) = pod["spec"]["containers"]
            environment = {each["name"]: each for each in container["env"]}
            assert environment["RAY_AUTH_MODE"]["value"] == "token"
            assert "secretKeyRef" in environment["RAY_AUTH_TOKEN"]["valueFrom"], "no token in a file that is shared"
            mounts, volumes = container["volumeMounts"], pod["spec"]["volumes"]
            assert {each["name"] for each in mounts} == {each["name"] for each in volumes} == {"runs", "memory"}


def test_the_job_runs_a_command_that_exists(manifests):
    job = manifests["kuberay-job"]
    assert job["kind"] == "RayJob" and job["spec"]["entrypoint"].startswith("flywheel run ")
    assert "--address auto" in job["spec"]["entrypoint"] and job["spec"]["backoffLimit"] >= 1, "begun again where it was killed"


def test_the_sbatch_file_is_sound_bash_and_asks_for_what_it_needs():
    text = (DEPLOY / "slurm.sbatch").read_text()
    subprocess.run(["bash", "-n", DEPLOY / "slurm.sbatch"], check=True)
    for wanted in ("--signal=B:TERM@", "--requeue", "--nodes=", "scontrol requeue", "RAY_AUTH_MODE=token"):
        assert wanted in text
    assert "ray stop" not in text and "pkill" not in text
