"""A store that a team shares behind s3://, and Snakemake's S3 storage, for builds without a shared file system."""

import hashlib

import fsspec
import pytest
from attestation_samples import statement

from adapter_build.hermetic.envelope import read_statement, seal
from adapter_build.hermetic.shared_store import SharedStore
from adapter_build.hermetic.store import Hit, Store

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_a_shared_store_on_s3(bucket, tmp_path, capfd):
    """One machine fills it, another one has everything from there, but for what was spoilt in it."""
    content = b"made once"
    digest, key = hashlib.sha256(content).hexdigest(), "cd" + "0" * 62
    (tmp_path / "made").write_bytes(content)
    writer, reader = (Store(tmp_path / name, SharedStore(f"{bucket}/store")) for name in ("one", "two"))
    assert reader.find(key) is None
    writer.put(tmp_path / "made", digest)
    hit = Hit({"copy": [digest]}, seal(statement("copy", "results/copy"), None))
    writer.record(key, hit)
    assert reader.find(key) == hit
    assert reader.get(digest, tmp_path / "restored") and (tmp_path / "restored").read_bytes() == content
    s3().pipe(f"{bucket}/store/objects/{digest[:2]}/{digest}", b"poison")
    third = Store(tmp_path / "three", SharedStore(f"{bucket}/store"))
    assert third.find(key) and not third.get(digest, tmp_path / "spoilt") and not (tmp_path / "spoilt").exists()
    said = capfd.readouterr()
    assert "was not what its name says" in said.out and "cannot be" not in said.err


def test_a_bucket_that_is_not_there_is_an_empty_store(bucket, tmp_path, capfd):
    store = Store(tmp_path / "one", SharedStore("s3://no-such-bucket/store"))
    assert store.find("cd" + "0" * 62) is None
    (tmp_path / "made").write_bytes(b"made")
    store.put(tmp_path / "made", hashlib.sha256(b"made").hexdigest())
    assert store.get(hashlib.sha256(b"made").hexdigest(), tmp_path / "restored")
    assert "store s3://no-such-bucket/store cannot be written" in capfd.readouterr().err


def test_a_build_whose_files_are_in_s3(bucket, checkout, built):
    done = checkout.snakemake(
        "--default-storage-provider", "s3", "--default-storage-prefix", f"{bucket}/build",
        "--", "results/curated/ledger.parquet",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.digests() == {}, "an artifact that lies here, not in the bucket"
    files = s3()
    root = f"{bucket.removeprefix('s3://')}/build/results/"
    uploaded = {path.removeprefix(root): hashlib.sha256(files.cat(path)).hexdigest() for path in files.find(root)}
    assert "curated/ledger.parquet" in uploaded
    assert uploaded.items() <= built.digests().items()
    ours, theirs = (_key(folder / "results/lineage/collect_ledger.json") for folder in (checkout.folder, built.folder))
    assert ours == theirs, "where files lie must be in no action key"


def s3():
    """Return the bucket's server as it is now: each test has another one, at another address."""
    return fsspec.filesystem("s3", skip_instance_cache=True)


def _key(attestation):
    definition = read_statement(attestation)["predicate"]["buildDefinition"]
    return definition["internalParameters"]["actionKey"], definition["externalParameters"]["inputs"]
