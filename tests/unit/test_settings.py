import stat

import pytest

from clnm.entities import Role, VariableKind
from clnm.errors import ConfigurationError
from clnm.settings import Settings, make_pseudonym_key, read_pseudonym_key, read_settings, template


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "clnm.toml"
    path.write_text(template(), encoding="utf-8")
    return path


def test_the_template_is_a_valid_configuration_and_equals_the_defaults(config):
    settings = read_settings(config)
    assert settings.center[0].role is Role.TRAIN
    for table in ("store", "outcome", "pseudonyms", "radiomics", "deep", "compute", "quality", "monitor", "schedule"):
        assert getattr(settings, table) == Settings.model_fields[table].default, table


def test_the_template_shows_every_key_of_every_table():
    text = template()
    for name, field in Settings.model_fields.items():
        assert f"[{name}]" in text, name
        if hasattr(field.annotation, "model_fields"):
            assert all(f"{key} =" in text for key in field.annotation.model_fields), name


def test_clinical_variables_come_in_the_order_of_the_file(config):
    names = [variable.name for variable in read_settings(config).variables()]
    assert names == ["age", "tumor_edge", "calcification", "us_cln_positive"]
    assert read_settings(config).variables()[0].kind is VariableKind.NUMBER


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("workers = 0", "wokers = 0", "unknown key 'compute.wokers', did you mean 'workers'?"),
        ("[monitor]", "[monitr]", "unknown key 'monitr', did you mean 'monitor'?"),
        ('role = "train"', 'role = "trian"', "center.0.role"),
        ('levels = ["clear", "unclear"]', 'level = ["clear"]', "clinical.tumor_edge.level"),
        ("fine_tune_epochs = 0", "fine_tune_epochs = -3", "deep.fine_tune_epochs"),
        ('root = "store"', 'root = "gs://bucket/x"', "a folder, or s3://bucket/prefix"),
        ("calcification = {", "clnm = {", "is the outcome"),
        ('name = "C1"', 'name = "../C1"', "center.0.name"),
    ],
)
def test_a_wrong_key_or_value_is_named_in_the_sentence(config, old, new, sentence):
    config.write_text(template().replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_settings(config)
    assert sentence in str(caught.value)


def test_the_environment_overrides_the_file(config, monkeypatch):
    monkeypatch.setenv("CLNM_STORE__ROOT", "elsewhere")
    monkeypatch.setenv("CLNM_COMPUTE__WORKERS", "3")
    settings = read_settings(config)
    assert (settings.store.root, settings.compute.workers) == ("elsewhere", 3)


@pytest.mark.parametrize("variable", ["CLNM_STROE__ROOT", "CLNM_STORE__ROTO"])
def test_a_mistyped_environment_variable_is_refused(config, monkeypatch, variable):
    monkeypatch.setenv(variable, "elsewhere")
    with pytest.raises(ConfigurationError, match="did you mean"):
        read_settings(config)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigurationError, match="clnm init"):
        read_settings(tmp_path / "clnm.toml")


def test_the_config_hash_ignores_places_and_machines_but_not_the_model(config):
    before = read_settings(config).config_hash()
    elsewhere = template().replace('archive = ["archives/C1"]', 'archive = ["/mnt/x"]')
    config.write_text(elsewhere.replace("workers = 0", "workers = 9"))
    assert read_settings(config).config_hash() == before
    config.write_text(template().replace('backbone = "resnet18"', 'backbone = "resnet50"'))
    assert read_settings(config).config_hash() != before


def test_a_made_key_is_private_and_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.delenv("CLNM_PSEUDONYM_KEY", raising=False)
    path = tmp_path / "secrets" / "pseudonym.key"
    assert make_pseudonym_key(path)
    key = read_pseudonym_key(path)
    assert len(key) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not make_pseudonym_key(path)
    assert read_pseudonym_key(path) == key


def test_a_key_that_others_may_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("CLNM_PSEUDONYM_KEY", raising=False)
    path = tmp_path / "pseudonym.key"
    make_pseudonym_key(path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_pseudonym_key(path)


def test_a_short_or_missing_key_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CLNM_PSEUDONYM_KEY", "short")
    with pytest.raises(ConfigurationError, match="holds 5 bytes, needs 32"):
        read_pseudonym_key(tmp_path / "none")
    monkeypatch.delenv("CLNM_PSEUDONYM_KEY")
    with pytest.raises(ConfigurationError, match="no pseudonym key"):
        read_pseudonym_key(tmp_path / "none")
