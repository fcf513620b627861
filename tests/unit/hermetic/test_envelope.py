"""Envelopes and keys: what other projects' own tools accept, and what is refused."""

import json
import subprocess

import pytest
from attestation_samples import statement
from conftest import ROOT
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # pyright: ignore[reportPrivateImportUsage] - its documented place

from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.attestation_schema import PAYLOAD_TYPE
from adapter_build.hermetic.envelope import seal, signer, unseal
from adapter_build.hermetic.keys import make_key, private_key, public_half, public_key

STATEMENT = statement("é", "results/é")


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "keys/builder.pem"
    make_key(str(path))
    return path


def test_securesystemslib_verifies_what_we_sign(key):
    envelope = json.loads(json.dumps(seal(STATEMENT, private_key(key))))
    theirs = Envelope.from_dict(envelope)
    value = {"public": public_half(key).read_text()}
    public = SSlibKey(public_key(public_half(key)).id, "ecdsa", "ecdsa-sha2-nistp256", value)
    assert theirs.verify([public], 1)
    theirs.payload += b" "
    with pytest.raises(VerificationError):
        theirs.verify([public], 1)


def test_a_signature_is_over_these_bytes_by_this_key(key, tmp_path):
    make_key(str(tmp_path / "other.pem"))
    own, other = public_key(public_half(key)), public_key(tmp_path / "other.pub.pem")
    envelope = seal(STATEMENT, private_key(key))
    assert unseal(envelope) == STATEMENT
    assert signer(envelope, [other, own]) is own
    assert signer(envelope, [other]) is None
    assert signer(seal(STATEMENT, None), [own, other]) is None
    changed = seal({**STATEMENT, "subject": []}, None)
    assert signer({**changed, "signatures": envelope["signatures"]}, [own]) is None
    renamed = {**envelope, "signatures": [{**envelope["signatures"][0], "keyid": other.id}]}
    assert signer(renamed, [other]) is None, "believed what the envelope says of its key"


@pytest.mark.parametrize("spoilt", [{}, {"payload": "%%"}, {"payloadType": "text/plain"}, {"payload": "W10="}])
def test_what_is_no_envelope_raises(spoilt):
    envelope = {"payloadType": PAYLOAD_TYPE, "signatures": [], **spoilt}
    with pytest.raises(Malformed):
        unseal(envelope)


def test_the_key_is_its_owners_alone(key):
    assert key.stat().st_mode & 0o777 == 0o600 and key.parent.stat().st_mode & 0o777 == 0o700
    before = key.read_bytes()
    make_key(str(key))
    assert key.read_bytes() == before
    make_key("")


def refused(path, message):
    with pytest.raises(BadInput, match=message):
        private_key(path)


def test_a_key_that_others_can_read_is_refused(key):
    key.chmod(0o640)
    refused(key, "chmod 600")


def test_a_missing_or_foreign_key_is_refused(key, tmp_path):
    refused(tmp_path / "none.pem", "signing.key: .*none.pem: No such file")
    for name, command in {
        "p384.pem": ["openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout"],
        "rsa.pem": ["openssl", "genrsa", "2048"],
        "text.pem": ["echo", "no key"],
    }.items():
        path = tmp_path / name
        path.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        path.chmod(0o600)
        refused(path, "signing.key: .*" + name)


def test_a_key_made_by_openssl_signs(tmp_path, monkeypatch):
    plain, locked = tmp_path / "plain.pem", tmp_path / "locked.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", plain], check=True)
    subprocess.run(["openssl", "pkcs8", "-topk8", "-in", plain, "-out", locked, "-passout", "pass:word"], check=True)
    for path in (plain, locked):
        path.chmod(0o600)
    refused(locked, "SIGNING_KEY_PASSWORD")
    monkeypatch.setenv("SIGNING_KEY_PASSWORD", "word")
    unlocked = private_key(locked).public.id
    monkeypatch.delenv("SIGNING_KEY_PASSWORD")
    assert private_key(plain).public.id == unlocked


def test_keys_stay_out_of_git():
    ignored = subprocess.run(["git", "check-ignore", "-q", ".keys/builder.pem"], cwd=ROOT, check=False)
    assert ignored.returncode == 0
