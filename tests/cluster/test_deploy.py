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


# Fields of KubeRay's API ray.io/v1 that the manifests may use, with their types (ray-operator/apis/ray/v1; the pods inside are
# Kubernetes' own). A name that it does not know is dropped without a word by an API server.
GROUP = {"rayStartParams": {str: str}, "template": dict}
CLUSTER = {
    "rayVersion": str,
    "enableInTreeAutoscaling": bool,
    "suspend": bool,
    "headGroupSpec": GROUP | {"serviceType": str, "enableIngress": bool},
    "workerGroupSpecs": [
        GROUP | {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int, "numOfHosts": int},
    ],
}
JOB = {
    "entrypoint": str,
    "metadata": {str: str},
    "runtimeEnvYAML": str,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "backoffLimit": int,
    "activeDeadlineSeconds": int,
    "submissionMode": str,
    "suspend": bool,
    "rayClusterSpec": CLUSTER,
}


def faults(value, kind, where="spec"):
    """What of a manifest is not as its schema says."""
    if isinstance(kind, list):
        return [fault for i, each in enumerate(value) for fault in faults(each, kind[0], f"{where}[{i}]")]
    if kind == {str: str}:
        return [f"{where}.{name}: {each!r}" for name, each in value.items() if not isinstance(each, str)]
    if isinstance(kind, dict):
        unknown = [f"{where}.{name} is unknown" for name in value if name not in kind]
        return unknown + [
            f for name, each in value.items() if name in kind for f in faults(each, kind[name], f"{where}.{name}")
        ]
    return [] if type(value) is kind else [f"{where}: {value!r}"]


def test_the_manifests_have_the_fields_and_types_of_kuberay_s_api(manifests):
    for manifest in manifests.values():
        assert manifest["apiVersion"] == "ray.io/v1"
        assert faults(manifest["spec"], JOB if manifest["kind"] == "RayJob" else CLUSTER) == []
        cluster = cluster_spec(manifest)
        assert "template" in cluster["headGroupSpec"] and "rayStartParams" in cluster["headGroupSpec"]
        assert all(
            {"groupName", "minReplicas", "maxReplicas", "template"} <= set(group) for group in cluster["workerGroupSpecs"]
        )
    broken = manifests["kuberay-job"]["spec"] | {"backOffLimit": 3, "ttlSecondsAfterFinished": "600", "metadata": {"a": 1}}
    assert len(faults(broken, JOB)) == 3


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
