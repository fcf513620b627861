"""The signature over a staged adapter: by key, by certificate, by nobody; checked by OpenSSF's own command."""

import subprocess

import pytest
from attestation_samples import statement
from conftest import ROOT

from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.envelope import seal
from adapter_build.hermetic.keys import make_key, public_half
from adapter_build.lineage.adapter_bundle import model_signed, read_bundle, write_bundle
from adapter_build.lineage.attested_steps import read_step
from adapter_build.lineage.results_folder import BUNDLE, SIGNATURE


def step(name, made, read=()):
    """Return a step that made and read files of these names."""
    return read_step(seal(statement(name, made, read), None))


STEPS = {
    found.name: found
    for found in (
        step("raw", "results/raw"),
        step("tune", "results/tuned", ["results/raw", "prompts/x.jq"]),
        step("stage", "results/loras/x/weights", ["results/tuned"]),
        step("report", "results/report", ["results/loras/x/weights"]),
    )
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an adapter's file, and a key to sign with."""
    make_key(str(tmp_path / "key.pem"))
    monkeypatch.setenv("STEP_KEY", str(tmp_path / "key.pem"))
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "weights").write_bytes(b"weights")
    return folder


def theirs(folder, *options):
    """Return the exit code of OpenSSF's command."""
    command = [ROOT / ".venvs/workflow/bin/model_signing", "verify", *options, folder]
    return subprocess.run([*command, "--signature", folder / SIGNATURE], capture_output=True, check=False).returncode


def test_the_bundle_has_what_led_to_the_adapter(folder):
    write_bundle(folder, STEPS, "stage")
    assert list(read_bundle(folder / BUNDLE)) == ["raw", "tune", "stage"]
    (folder / BUNDLE).write_text("{}\n")
    with pytest.raises(Malformed, match="line 1"):
        read_bundle(folder / BUNDLE)


def test_signed_with_the_key(folder):
    write_bundle(folder, STEPS, "stage")
    public = public_half(folder.with_name("key.pem"))
    assert model_signed(folder, [public], []) is None
    assert theirs(folder, "key", "--public_key", public) == 0
    (folder / "weights").write_bytes(b"Weights")
    assert "mismatch" in str(model_signed(folder, [public], []))
    assert theirs(folder, "key", "--public_key", public) != 0


def test_signed_with_a_certificate(folder, monkeypatch):
    root, leaf, other = certificates(folder.parent)
    monkeypatch.setenv("STEP_CERTIFICATES", f"{leaf}:{root}")
    write_bundle(folder, STEPS, "stage")
    assert model_signed(folder, [], [root]) is None
    assert theirs(folder, "certificate", "--certificate_chain", root) == 0
    assert model_signed(folder, [], [other]) is not None
    assert theirs(folder, "certificate", "--certificate_chain", other) != 0


def test_unsigned_leaves_no_old_signature(folder, monkeypatch):
    write_bundle(folder, STEPS, "stage")
    monkeypatch.setenv("STEP_KEY", "")
    write_bundle(folder, STEPS, "stage")
    assert sorted(path.name for path in folder.iterdir()) == [BUNDLE, "weights"]


def certificates(folder):
    """Make two roots, and a certificate for the key by the first; return root, certificate and the other root."""

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], cwd=folder, capture_output=True, check=True)

    for name in ("root", "other"):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
        usage = ["-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE"]
        openssl("req", "-x509", *key, "-subj", f"/CN={name}", "-days", 3650, *usage, "-out", f"{name}.pem")
    (folder / "leaf.ext").write_text("keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n")
    openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=builder", "-out", "leaf.csr")
    authority = ["-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", 3650]
    openssl("x509", "-req", "-in", "leaf.csr", *authority, "-extfile", "leaf.ext", "-out", "leaf.pem")
    return folder / "root.pem", folder / "leaf.pem", folder / "other.pem"
