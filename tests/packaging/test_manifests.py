"""The objects that `hftool deploy --to kubernetes` writes: valid by the cluster's own schemas, and true to each other."""

import re

import pytest
import yaml

from hftool.errors import UsageError
from hftool.packaging.kubernetes import LEAVING, MANIFESTS, SCALE, manifests
from hftool.packaging.service import GRACE, KEY, MIB, PORT, USER, Service, check_image, check_name, name_of

SCHEMAS = ("1.31", "1.37")  # an older cluster, and the newest whose schemas the checker has
SIZE = 90 * MIB


def service(**fields):
    known = {"name": "reviews", "image": "registry.example.org:5000/team/reviews:1", "head": "classify", "weights": SIZE}
    return Service(**{**known, **fields})


@pytest.fixture
def made():
    return {name: yaml.safe_load(text) for name, text in manifests(service()).items()}


def pod(made):
    return made["deployment.yaml"]["spec"]["template"]["spec"]


def container(made):
    return pod(made)["containers"][0]


def check(document, version):
    """Raise unless an object is one of the cluster's, with no field that it does not know."""
    import kubernetes_validate

    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", SCHEMAS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_every_object_fits_the_schema_of_the_cluster(made, name, version):
    check(made[name], version)


def test_the_check_of_schemas_bites(made):
    import kubernetes_validate

    container(made)["readyProbe"] = container(made).pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        check(made["deployment.yaml"], SCHEMAS[0])


def test_a_name_that_yaml_takes_for_something_else_stays_a_name():
    """`on` and `null` are no texts in YAML, and 12:30 is a number in base sixty."""
    made = {name: yaml.safe_load(text) for name, text in manifests(service(name="on", image="12:30")).items()}
    assert made["service.yaml"]["metadata"]["name"] == "on"
    assert container(made)["image"] == "12:30"
    for name in MANIFESTS:
        check(made[name], SCHEMAS[0])


def test_kustomization_names_every_object_and_no_other(made):
    assert made["kustomization.yaml"]["resources"] == list(MANIFESTS)


def test_every_selector_finds_the_pods(made):
    labels = made["deployment.yaml"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        made["deployment.yaml"]["spec"]["selector"]["matchLabels"],
        made["service.yaml"]["spec"]["selector"],
        made["networkpolicy.yaml"]["spec"]["podSelector"]["matchLabels"],
        made["poddisruptionbudget.yaml"]["spec"]["selector"]["matchLabels"],
        pod(made)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert all(chosen and chosen.items() <= labels.items() for chosen in selectors)
    target = made["hpa.yaml"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", made["deployment.yaml"]["metadata"]["name"])


def test_every_port_is_the_one_that_the_server_opens(made):
    ports = container(made)["ports"]
    assert [(port["name"], port["containerPort"]) for port in ports] == [("http", PORT)]
    used = [made["service.yaml"]["spec"]["ports"][0]["targetPort"]]
    used += [rule["port"] for rule in made["networkpolicy.yaml"]["spec"]["ingress"][0]["ports"]]
    used += [container(made)[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert set(used) == {"http"}


def test_the_key_is_where_the_server_looks_for_it_and_in_no_file(made):
    volume = next(one for one in pod(made)["volumes"] if "secret" in one)
    mount = next(one for one in container(made)["volumeMounts"] if one["name"] == volume["name"])
    assert f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}" == KEY
    assert volume["secret"]["secretName"] == "reviews-api-key"
    assert volume["secret"]["defaultMode"] == 0o440 and pod(made)["securityContext"]["fsGroup"] == USER
    assert "Secret" not in {document["kind"] for document in made.values()}


def test_a_pod_may_do_nothing_but_serve(made):
    inside, outside = container(made)["securityContext"], pod(made)["securityContext"]
    assert outside["runAsNonRoot"] is True and outside["runAsUser"] == USER > 0
    assert outside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside["readOnlyRootFilesystem"] is True and inside["allowPrivilegeEscalation"] is False
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert pod(made)["automountServiceAccountToken"] is False
    policy = made["networkpolicy.yaml"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"} and policy["egress"] == []


def test_a_pod_has_time_to_finish_what_it_began(made):
    assert pod(made)["terminationGracePeriodSeconds"] > LEAVING + GRACE
    assert container(made)["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(LEAVING)]
    assert container(made)["args"] == ["--grace", str(GRACE)]


def test_the_autoscaler_alone_says_how_many(made):
    assert "replicas" not in made["deployment.yaml"]["spec"]
    scale = yaml.safe_load(manifests(service(replicas=3))["hpa.yaml"])["spec"]
    assert (scale["minReplicas"], scale["maxReplicas"]) == (3, 3 * SCALE)
    assert "hftool_queue_size" in manifests(service())["hpa.yaml"]


def test_memory_grows_with_the_model_and_threads_are_those_of_the_pod(made):
    resources = container(made)["resources"]
    small, large = service(weights=0).memory, service(weights=1024 * MIB).memory
    assert small == 1024 * MIB and large == 3 * 1024 * MIB < service(weights=1024 * MIB, exported=True).memory
    assert resources["requests"]["memory"] == f"{service().memory // MIB}Mi"
    assert int(resources["limits"]["memory"][:-2]) > int(resources["requests"]["memory"][:-2])
    threads = next(one for one in container(made)["env"] if one["name"] == "OMP_NUM_THREADS")
    assert threads["valueFrom"]["resourceFieldRef"] == {
        "containerName": container(made)["name"],
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
def test_references_that_always_mean_the_same_are_taken(image):
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
def test_other_references_are_refused_in_one_line(image):
    with pytest.raises(UsageError) as caught:
        check_image(image)
    assert "\n" not in str(caught.value).replace(image, "")


@pytest.mark.parametrize("name", ["Reviews", "a_b", "-a", "a-", "1a", "a" * 41, "", "a\nb", "ä", "a.b"])
def test_names_that_no_cluster_takes_are_refused_with_one_that_it_does(name):
    with pytest.raises(UsageError) as caught:
        check_name(name)
    check_name(re.search(r"--name (\S+)", caught.value.hint)[1])


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("runs_A.2", "runs-a-2"),
        ("--x--", "x"),
        ("2026-run", "run"),
        ("日本", "model"),
        ("a" * 39 + "-b", "a" * 39),
        ("", "model"),
    ],
)
def test_any_word_gives_a_name(word, name):
    assert name_of(word) == name
    check_name(name)
