"""Settings: where they come from, and what happens to wrong ones."""

from pathlib import Path

import pytest

from modelworks import config
from modelworks.core.errors import Invalid, NotFound


def test_defaults_file_environment(tmp_path: Path) -> None:
    (tmp_path / "modelworks.toml").write_text("[server]\nport = 9000\nhost = '0.0.0.0'\n[serve]\npoll = 1\n")
    environ = {"MODELWORKS_SERVER_PORT": "9100", "MODELWORKS_UNRELATED": "x"}
    loaded = config.load(tmp_path, environ)
    assert loaded.settings.server_port == 9100
    assert loaded.settings.server_host == "0.0.0.0"
    assert loaded.settings.serve_poll == 1.0
    assert isinstance(loaded.settings.serve_poll, float)
    assert loaded.settings.train_workers == 0
    assert loaded.sources["server_port"] == "MODELWORKS_SERVER_PORT"
    assert loaded.sources["server_host"] == str(tmp_path / "modelworks.toml")
    assert loaded.sources["train_workers"] == "default"
    assert loaded.state == tmp_path / ".modelworks"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server\n", "not valid TOML"),
        ("port = 3\n", "there is no setting port"),
        ("[server]\nprot = 3\n", r"\[server\] prot"),
        ("[server]\nport = 'many'\n", "server_port must be a number"),
        ("[server]\nport = true\n", "server_port must be a number"),
        ("[server]\nport = 80.5\n", "server_port must be a number"),
        ("[server]\nhost = 3\n", "server_host must be text"),
        ("[serve]\npoll = []\n", "serve_poll must be a number"),
    ],
)
def test_wrong_settings_name_their_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "modelworks.toml").write_text(text)
    with pytest.raises(Invalid, match=says) as raised:
        config.load(tmp_path, {})
    assert str(tmp_path / "modelworks.toml") in str(raised.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "modelworks.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match="not valid TOML"):
        config.load(tmp_path, {})


def test_a_wrong_variable_names_itself(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="MODELWORKS_SERVER_PORT has 'x'"):
        config.load(tmp_path, {"MODELWORKS_SERVER_PORT": "x"})


def test_the_root_is_found_from_inside(tmp_path: Path) -> None:
    (tmp_path / "factory.py").touch()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert config.find_root(deep) == tmp_path.resolve()
    (tmp_path / "a" / "modelworks.toml").touch()
    assert config.find_root(deep) == (tmp_path / "a").resolve()


def test_no_root_lists_every_place_looked_up(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        config.find_root(tmp_path)
    assert all(
        str(folder) in raised.value.why for folder in [tmp_path.resolve(), *tmp_path.resolve().parents]
    )
