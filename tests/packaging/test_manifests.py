"""The manifests of `hftool deploy --to kubernetes`: valid by the schemas of Kubernetes, and consistent."""

import re

import pytest
import yaml

from hftool.errors import UsageError
from hftool.packaging.kubernetes import LEAVING, MANIFESTS, SCALE, manifests
from hftool.packaging.service import GRACE, KEY, MIB, PORT, USER, ServiceSpec, check_image, check_name, service_name

SCHEMAS = ("1.31", "1.37")  # an older cluster version, and the newest with schemas in the validator
SIZE = 90 * MIB


def service(**fields):
    known = {"name": "reviews", "image": "registry.example.org:5000/team/reviews:1", "head": "classify", "weights": SIZE}
    return ServiceSpec(**{**known, **fields})


@pytest.fixture
def parsed():
    return {name: yaml.safe_load(text) for name, text in manifests(service()).items()}


def pod(parsed):
    return parsed["deployment.yaml"]["spec"]["template"]["spec"]


def container(parsed):
    return pod(parsed)["containers"][0]


def check(document, version):
    """Raise unless a manifest is valid for a Kubernetes version, without unknown fields."""
    import kubernetes_validate

    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", SCHEMAS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_every_object_is_valid_for_the_cluster_version(parsed, name, version):
    check(parsed[name], version)


def test_the_schema_check_finds_violations(parsed):
    import kubernetes_validate

    container(parsed)["readyProbe"] = container(parsed).pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        check(parsed["deployment.yaml"], SCHEMAS[0])


def test_names_that_look_like_other_yaml_types_are_quoted():
    """Unquoted, `on` is a boolean in YAML, and 12:30 a number in base sixty."""
    parsed = {name: yaml.safe_load(text) for name, text in manifests(service(name="on", image="12:30")).items()}
    assert parsed["service.yaml"]["metadata"]["name"] == "on"
    assert container(parsed)["image"] == "12:30"
    for name in MANIFESTS:
        check(parsed[name], SCHEMAS[0])


def test_kustomization_lists_every_object(parsed):
    assert parsed["kustomization.yaml"]["resources"] == list(MANIFESTS)


def test_every_selector_matches_the_pods(parsed):
    labels = parsed["deployment.yaml"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        parsed["deployment.yaml"]["spec"]["selector"]["matchLabels"],
        parsed["service.yaml"]["spec"]["selector"],
        parsed["networkpolicy.yaml"]["spec"]["podSelector"]["matchLabels"],
        parsed["poddisruptionbudget.yaml"]["spec"]["selector"]["matchLabels"],
        pod(parsed)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert all(chosen and chosen.items() <= labels.items() for chosen in selectors)
    target = parsed["hpa.yaml"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", parsed["deployment.yaml"]["metadata"]["name"])


def test_every_port_is_that_of_the_server(parsed):
    ports = container(parsed)["ports"]
    assert [(port["name"], port["containerPort"]) for port in ports] == [("http", PORT)]
    used = [parsed["service.yaml"]["spec"]["ports"][0]["targetPort"]]
    used += [rule["port"] for rule in parsed["networkpolicy.yaml"]["spec"]["ingress"][0]["ports"]]
    used += [container(parsed)[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert set(used) == {"http"}


def test_api_key_is_mounted_where_the_server_reads_it_and_in_no_file(parsed):
    volume = next(one for one in pod(parsed)["volumes"] if "secret" in one)
    mount = next(one for one in container(parsed)["volumeMounts"] if one["name"] == volume["name"])
    assert f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}" == KEY
    assert volume["secret"]["secretName"] == "reviews-api-key"
    assert volume["secret"]["defaultMode"] == 0o440 and pod(parsed)["securityContext"]["fsGroup"] == USER
    assert "Secret" not in {document["kind"] for document in parsed.values()}


def test_pod_has_minimal_privileges(parsed):
    inside, outside = container(parsed)["securityContext"], pod(parsed)["securityContext"]
    assert outside["runAsNonRoot"] is True and outside["runAsUser"] == USER > 0
    assert outside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside["readOnlyRootFilesystem"] is True and inside["allowPrivilegeEscalation"] is False
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert pod(parsed)["automountServiceAccountToken"] is False
    policy = parsed["networkpolicy.yaml"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"} and policy["egress"] == []


def test_pod_has_time_to_finish_its_requests(parsed):
    assert pod(parsed)["terminationGracePeriodSeconds"] > LEAVING + GRACE
    assert container(parsed)["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(LEAVING)]
    assert container(parsed)["args"] == ["--grace", str(GRACE)]


def test_only_the_autoscaler_sets_the_number_of_replicas(parsed):
    assert "replicas" not in parsed["deployment.yaml"]["spec"]
    scale = yaml.safe_load(manifests(service(replicas=3))["hpa.yaml"])["spec"]
    assert (scale["minReplicas"], scale["maxReplicas"]) == (3, 3 * SCALE)
    assert "hftool_queue_size" in manifests(service())["hpa.yaml"]


def test_memory_depends_on_the_model_and_threads_on_the_pod(parsed):
    resources = container(parsed)["resources"]
    small, large = service(weights=0).memory, service(weights=1024 * MIB).memory
    assert small == 1024 * MIB and large == 3 * 1024 * MIB < service(weights=1024 * MIB, exported=True).memory
    assert resources["requests"]["memory"] == f"{service().memory // MIB}Mi"
    assert int(resources["limits"]["memory"][:-2]) > int(resources["requests"]["memory"][:-2])
    threads = next(one for one in container(parsed)["env"] if one["name"] == "OMP_NUM_THREADS")
    assert threads["valueFrom"]["resourceFieldRef"] == {
        "containerName": container(parsed)["name"],
        "resource": "limits.cpu",
        "divisor": "1",
    }


@pytest.mark.parametrize(
    "image",
    [
        "reviews:1",
        "registry.example.org/team/reviews:2026.11",
        "localhost:5000/a/b_c:x",
        f"a/b@sha256:{'0' * 64}",
        f"a/b:1@sha256:{'f' * 64}",
    ],
)
def test_immutable_image_references_are_accepted(image):
    check_image(image)


@pytest.mark.parametrize(
    "image",
    [
        *(
            "reviews",
            "reviews:latest",
            "localhost:5000/reviews",
            "Reviews:1",
            "a:1\nRUN id",
            "a b:1",
            "-a:1",
            "a:1 ",
            "",
            "a/:1",
        ),
        *(f"a@sha256:{'0' * 63}", "$(id):1", 'a:"1'),
    ],
)
def test_other_image_references_are_refused(image):
    with pytest.raises(UsageError) as caught:
        check_image(image)
    assert "\n" not in str(caught.value).replace(image, "")


@pytest.mark.parametrize("name", ["Reviews", "a_b", "-a", "a-", "1a", "a" * 41, "", "a\nb", "ä", "a.b"])
def test_invalid_names_are_refused_with_a_valid_suggestion(name):
    with pytest.raises(UsageError) as caught:
        check_name(name)
    check_name(re.search(r"--name (\S+)", caught.value.hint)[1])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("runs_A.2", "runs-a-2"),
        ("--x--", "x"),
        ("2026-run", "run"),
        ("日本", "model"),
        ("a" * 39 + "-b", "a" * 39),
        ("", "model"),
    ],
)
def test_any_text_gives_a_valid_name(text, name):
    assert service_name(text) == name
    check_name(name)
