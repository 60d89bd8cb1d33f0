"""Values for Zero to JupyterHub: known keys, and our settings executed as its chart does."""

import asyncio
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.crypto import CryptKeeper
from jupyterhub.scopes import scope_definitions
from kubernetes_asyncio.client import ApiClient
from oauthenticator.generic import GenericOAuthenticator
from traitlets.config import Config

from lms.cli.prepare import make_keys
from lms.foundation.resources import resource_dir
from lms.foundation.settings import Settings
from lms.outposts.hub.authenticator import LmsAuthenticator
from lms.outposts.hub.pods import HOME, PodSpawner
from tests.integration.kubernetes.rendered import FOLDER, of_kind, pods, rendered
from tests.integration.kubernetes.z2jh_keys import KEYS

VALUES = yaml.safe_load((FOLDER / "z2jh" / "values.yaml").read_text(encoding="utf-8"))
OURS = yaml.safe_load((FOLDER / "chart" / "values.yaml").read_text(encoding="utf-8"))


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _names(path: str, pattern: str) -> bool:
    words, wanted = path.split("."), pattern.split(".")
    return len(words) == len(wanted) and all(map(fnmatchcase, words, wanted))


def _problems(values: object) -> list[str]:
    """Return what z2jh's schema would refuse in `values`."""
    problems = []
    for path, value in _leaves(values):
        kinds = [kind for key, kind in KEYS.items() if _names(path, key)]
        # A bool is an int to Python alone.
        if not any(value in kind if isinstance(kind, tuple) else type(value) is kind
                   for kind in kinds):  # fmt: skip
            problems.append(f"{path}: {value!r}" if kinds else path)
    return problems


def test_every_key_is_one_that_the_charts_schema_takes_and_none_is_left_over() -> None:
    assert _problems(VALUES) == []
    paths = [path for path, _ in _leaves(VALUES)]
    assert not [key for key in KEYS if not any(_names(path, key) for path in paths)]


def test_a_wrong_key_or_kind_would_be_seen() -> None:
    wrong = {
        "hub": {"image": {"tag": 0.1}, "networkPolicies": {"enabled": True}},
        "cull": {"timeout": True},
        "proxy": {"service": {"type": "clusterIP"}},
    }
    assert _problems(wrong) == [
        "hub.image.tag: 0.1",
        "hub.networkPolicies.enabled",
        "cull.timeout: True",
        "proxy.service.type: 'clusterIP'",
    ]


def test_both_charts_agree_on_addresses_images_and_names() -> None:
    hub, singleuser = VALUES["hub"], VALUES["singleuser"]
    assert hub["extraEnv"]["LMS_URL"] == OURS["lms"]["url"]
    assert hub["extraEnv"]["HUB_URL"] == OURS["hub"]["url"]
    image = {name: OURS["image"][name] for name in ("name", "tag")}
    assert hub["image"] == image
    assert {name: singleuser["image"][name] for name in image} == image
    assert hub["extraVolumes"][0]["secret"]["secretName"] == OURS["secrets"]["hub"]
    (rule,) = singleuser["networkPolicy"]["egress"]
    where = rule["to"][0]["namespaceSelector"]["matchLabels"]
    assert where == OURS["networkPolicy"]["ingressNamespace"]
    assert VALUES["ingress"] == {"enabled": False}
    assert "seodang-hub" in of_kind(rendered("defaults"), "Ingress")
    web = pods(rendered("defaults"))["seodang-web"]["metadata"]["labels"]
    assert web["hub.jupyter.org/network-access-hub"] == "true"


@pytest.fixture
def hub_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the Hub's pod: its variables, its keys, and a cluster for KubeSpawner to know of."""
    settings = Settings(data_dir=tmp_path)
    settings.keys_dir.mkdir()
    make_keys(settings)
    monkeypatch.setenv("LMS_DATA", str(tmp_path))
    for name in ("LMS_URL", "HUB_URL"):
        monkeypatch.setenv(name, VALUES["hub"]["extraEnv"][name])
    file = tmp_path / "config"
    server = {"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "none", "context": {"cluster": "none", "user": "none"}}
    known = {"clusters": [server], "contexts": [context], "users": [{"name": "none", "user": {}}]}
    file.write_text(
        json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "none"} | known)
    )
    monkeypatch.setattr(
        "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file)
    )
    return tmp_path


@pytest.fixture
def config(hub_place: Path) -> Config:
    """Execute our file on top of what the chart has set by then: lists of its own among it."""
    c = Config()
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    c.JupyterHub.services = [{"name": "jupyterhub-idle-culler", "command": ["true"]}]
    c.JupyterHub.load_roles = [{"name": "jupyterhub-idle-culler", "scopes": ["list:users"]}]
    c.KubeSpawner.image = "registry.example.org/seodang:0.1.0"
    c.KubeSpawner.namespace = "seodang"
    c.KubeSpawner.environment = {}
    file = VALUES["hub"]["extraFiles"]["seodang"]
    assert file["mountPath"].startswith("/usr/local/etc/jupyterhub/jupyterhub_config.d/")
    exec(compile(file["stringData"], file["mountPath"], "exec"), {"c": c})  # noqa: S102 - as there
    return c


def test_every_setting_is_a_trait_of_what_it_is_for(config: Config) -> None:
    classes: dict[str, Any] = {
        "JupyterHub": JupyterHub,
        "LmsAuthenticator": LmsAuthenticator,
        "KubeSpawner": PodSpawner,
        "PodSpawner": PodSpawner,
    }
    assert set(config) == set(classes)
    for name, settings in config.items():
        traits = classes[name].class_traits(config=True)
        assert not set(settings) - set(traits), name
    assert issubclass(config.JupyterHub.spawner_class, classes["KubeSpawner"])
    # Made with them, every value passes its trait's own check.
    assert LmsAuthenticator(config=config).userdata_url == "https://lms.example.org/oauth/userinfo"
    assert isinstance(LmsAuthenticator(config=config), GenericOAuthenticator)


def test_the_charts_own_services_and_roles_stay_and_ours_come_beside(config: Config) -> None:
    services = {one["name"] for one in config.JupyterHub.services}
    assert services == {"jupyterhub-idle-culler", "lms", "sign-out"}
    roles = {one["name"]: one for one in config.JupyterHub.load_roles}
    assert set(roles) == {"jupyterhub-idle-culler", "user", "lms", "sign-out"}
    for role in roles.values():
        for scope in role["scopes"]:
            assert scope.partition("!")[0] in scope_definitions
    assert config.JupyterHub.tornado_settings["slow_spawn_timeout"] == 0
    assert config.JupyterHub.tornado_settings["cookie_options"] == {"samesite": "Lax"}


def test_the_real_hub_starts_up_to_its_first_request_with_it(
    config: Config, hub_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hub_place)
    config.JupyterHub.db_url = "sqlite://"
    config.JupyterHub.cookie_secret = bytes(32)
    config.CryptKeeper.keys = [bytes(32)]
    config.ConfigurableHTTPProxy.should_start = False
    config.ConfigurableHTTPProxy.auth_token = "of-the-chart"

    async def start() -> JupyterHub:
        hub = JupyterHub.instance(config=config)
        await hub.initialize([])
        assert isinstance(hub, JupyterHub)
        return hub

    singletons: tuple[Any, ...] = (JupyterHub, CryptKeeper)
    for one in singletons:
        one.clear_instance()
    try:
        hub = asyncio.run(start())
        assert isinstance(hub.authenticator, LmsAuthenticator)
        user = orm.Role.find(hub.db, "user")
        assert "access:servers!user" in user.scopes
        assert "tokens!user" not in user.scopes, "people can make no tokens that outlive a sign-out"
        service = orm.Service.find(hub.db, "lms")
        assert [role.name for role in service.roles] == ["lms"]
        template = hub.tornado_settings["jinja2_env"].get_template("spawn_pending.html")
        assert Path(template.filename).is_relative_to(resource_dir("templates"))
        hub.db.close()
    finally:
        for one in singletons:
            one.clear_instance()


def test_tokens_are_read_from_the_mounted_keys(config: Config, hub_place: Path) -> None:
    keys = hub_place / "keys" / "hub"
    secret = (keys / "client_secret").read_text()
    assert config.LmsAuthenticator.client_secret == secret
    (lms,) = [one for one in config.JupyterHub.services if one["name"] == "lms"]
    assert lms["api_token"] == (hub_place / "keys" / "web" / "hub_api_token").read_text()
    text = (FOLDER / "z2jh" / "values.yaml").read_text(encoding="utf-8")
    assert not [path for path in keys.iterdir() if path.read_text() in text]


def _spawner(config: Config, *groups: str) -> PodSpawner:
    user = SimpleNamespace(
        name="minseo",
        id=1,
        escaped_name="minseo",
        groups=[SimpleNamespace(name=group) for group in groups],
        url="/user/minseo/",
        settings={},
    )
    return PodSpawner(_mock=True, config=config, user=user)


async def _manifest(spawner: PodSpawner) -> dict[str, Any]:
    await spawner.load_user_options()
    pod = await spawner.get_pod_manifest()
    async with ApiClient() as client:
        made: dict[str, Any] = client.sanitize_for_serialization(pod)
    return made


@pytest.mark.parametrize(
    ("groups", "folders"),
    [((), ["student", ""]), (("offering:ai:instructor",), [""])],
)
def test_a_servers_pod_is_taken_and_knows_the_lms(
    config: Config, groups: tuple[str, ...], folders: list[str]
) -> None:
    async def make() -> dict[str, Any]:
        spawner = _spawner(config, *groups)
        spawner.user_options = {"profile": "gpu"}
        return await _manifest(spawner)

    made = {"apiVersion": "v1", "kind": "Pod", **asyncio.run(make())}
    kubernetes_validate.validate(made, kubernetes_validate.latest_version(), strict=True)
    (container,) = made["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["workingDir"] == HOME == VALUES["singleuser"]["storage"]["homeMountPath"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert (env["LMS_URL"], env["HOME"]) == ("https://lms.example.org", HOME)
    base = resource_dir("hub_config")
    assert env["JUPYTER_CONFIG_PATH"].split(":") == [str(base / one) for one in folders]
    assert made["spec"]["automountServiceAccountToken"] is False


def test_a_size_that_is_not_open_to_the_person_is_refused(config: Config) -> None:
    async def ask() -> None:
        spawner = _spawner(config)
        spawner.user_options = {"profile": "somebody-elses"}
        await spawner.load_user_options()

    with pytest.raises(ValueError, match="somebody-elses"):
        asyncio.run(ask())


def test_people_with_one_size_are_not_asked_and_others_are(config: Config) -> None:
    async def forms() -> tuple[str, str]:
        several = _spawner(config)
        one = _spawner(config)
        offered = several.profile_list(several)
        one.profile_list = lambda _spawner: offered[:1]
        return await one.get_options_form(), await several.get_options_form()

    none, choice = asyncio.run(forms())
    assert none == ""
    assert "standard" in choice
    assert "gpu" in choice
