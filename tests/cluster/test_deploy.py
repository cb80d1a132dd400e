"""What is shipped: the wheel, and what is for clusters as far as it can be checked without one."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "cluster" / "deploy"


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


# the image and the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the files that the Dockerfile copies and no others."""
    source = tmp_path_factory.mktemp("image")
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    for name in " ".join(copied).replace("${LOCK}", "cpu").split():
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (source / name).parent.mkdir(exist_ok=True)
            shutil.copy(TOP / name, source / name)
    code = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    return next(source.glob("*.whl"))


@pytest.fixture
def installed(wheel, tmp_path):
    """flywheel as a command in an empty folder, from a folder like site-packages that holds the wheel's files."""
    (tmp_path / "here").mkdir()
    with zipfile.ZipFile(wheel) as files:
        files.extractall(tmp_path / "site")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from cluster.cli import main; sys.exit(main())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def flywheel(*words):
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True)

    return flywheel


def test_the_wheel_holds_every_file_that_is_needed(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("cluster", "iteration"):
        files = [
            path.relative_to(TOP) for path in (TOP / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        ]
        assert {str(path) for path in files} <= held
    assert {f"iteration/{path.relative_to(TOP)}" for path in (TOP / "configs").rglob("*.yaml")} <= held
    own = wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"
    assert {name.split("/")[0] for name in held} == {"cluster", "iteration", own}


def test_a_wheel_works_in_an_empty_folder(installed, tmp_path):
    shown = installed("--help")
    assert shown.returncode == 0 and "init " in shown.stdout
    made = installed("init", "mine", "--verifier", "exact")
    assert made.stdout == "mine.yaml is written; run it with: flywheel run mine.yaml\n", made.stderr
    text = (tmp_path / "here/mine.yaml").read_text()
    assert "verify: {name: exact}" in text and "flywheel run mine.yaml" in text and "launch.sh" not in text


def test_a_package_of_the_same_name_is_said(installed, tmp_path):
    for others, warnings in (("", 0), ("cluster/__init__.py,,\n", 1)):
        (tmp_path / "site/other-1.0.dist-info").mkdir(exist_ok=True)
        (tmp_path / "site/other-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
        (tmp_path / "site/other-1.0.dist-info/RECORD").write_text(f"other.py,,\n{others}")
        said = installed("quickstart", "seach.n=1").stderr.splitlines()
        assert "did you mean 'search'?" in said[-1], "configs/quickstart.yaml was found"
        assert said[:-1] == ["flywheel: WARNING: other installs a package cluster or iteration too; uninstall it"] * warnings


def test_the_image_can_be_built_for_each_lock():
    text = (DEPLOY / "Dockerfile").read_text()
    for lock in ("cpu", "gpu"):
        assert (TOP / f"locks/{lock}.txt").exists()
    assert "COPY locks/${LOCK}.txt locks/" in text and '-r "locks/$LOCK.txt"' in text
    for manifest in DEPLOY.glob("*.yaml"):
        assert "image: IMAGE" in manifest.read_text()
