"""Reuse of an action's earlier outputs: looked up by its key, checked against its attestation, restored, verified."""

import contextlib
import datetime
import os
from pathlib import Path
from typing import Any

from adapter_build.core.faults import say
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic import attestation
from adapter_build.hermetic.access import mode_of
from adapter_build.hermetic.action import Action, key_of
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.envelope import signer, unseal
from adapter_build.hermetic.keys import private_key, public_key
from adapter_build.hermetic.shared_store import TIMEOUT, SharedStore
from adapter_build.hermetic.store import Damaged, Hit, Store
from adapter_build.hermetic.variables import paths_of


class Reuse:
    """The stores as one action uses them.

    STEP_STORE names the folder, STEP_STORE_URL the shared store, if any. Where STEP_TRUSTED names public keys, only
    records signed by one of them or by this builder's own key are used.
    """

    def __init__(self, step: str, action: Action, enabled: bool) -> None:
        """With `enabled` False nothing is restored and nothing stored: a check means nothing unless it is run."""
        folder, url = os.environ.get("STEP_STORE"), os.environ.get("STEP_STORE_URL")
        timeout = float(os.environ.get("STEP_STORE_TIMEOUT") or TIMEOUT)
        self._store = Store(Path(folder), SharedStore(url, timeout) if url else None) if enabled and folder else None
        self._step, self._action = step, action
        self._key = action.key()
        self.hit = False

    def __enter__(self) -> "Reuse":
        if self._store:
            try:
                self._store.open()
            except OSError as error:
                self._without(error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._store:
            self._store.close()

    def restored(self, attempt: Attempt, started: datetime.datetime) -> dict[str, Any] | None:
        """Copy the outputs into the attempt and return their attestation; None if the store lacks any of them."""
        try:
            return self._restored(self._store, attempt, started) if self._store else None
        except OSError as error:  # the store went away, or is full
            self._without(error)
            return None

    def _restored(self, store: Store, attempt: Attempt, started: datetime.datetime) -> dict[str, Any] | None:
        found = None
        try:
            found = store.find(self._key)
            doubt = found and self._doubt(found)
        except Malformed as error:
            doubt = f"its record cannot be read ({error})"
        if doubt:
            say(f"  store: not taken, {doubt}: action {self._key[:12]}…", error=True)
            return None
        if not found:
            return None
        digests: dict[Path, str] = {}
        for option, paths in self._action.outputs.items():
            for path, digest in zip(paths, found.outputs[option], strict=True):
                if not store.get(digest, attempt.out / path):
                    return None
                digests[path] = digest
        self.hit = True
        return attestation.sealed(attestation.reused(found.envelope, digests, started))

    def remember(self, attempt: Attempt, digests: dict[Path, str], envelope: dict[str, Any]) -> None:
        """Store the outputs (path → sha256). On a full disk nothing is stored, and the step does not fail."""
        if not self._store:
            return
        try:
            for path, digest in digests.items():
                self._store.put(attempt.out / path, digest)
            outputs = {option: [digests[path] for path in paths] for option, paths in self._action.outputs.items()}
            self._store.record(self._key, Hit(outputs, envelope))
        except PermissionError as error:
            self._without(error)
        except (OSError, Damaged) as error:
            say(f"  not stored: {error}")

    def _doubt(self, found: Hit) -> str | None:
        """Return the reason not to use a record: it contradicts its attestation or this action, or is not trusted.

        Raises `Malformed`.
        """
        statement = unseal(found.envelope)
        definition = statement["predicate"]["buildDefinition"]
        internal, external = definition["internalParameters"], definition["externalParameters"]
        made = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
        attested = {option: [made[path] for path in paths] for option, paths in external["outputs"].items()}
        if not internal["actionKey"] == self._key == key_of(internal["action"]) or attested != found.outputs:
            return "its record is not what its attestation says"
        if (external["step"], external["parameters"]) != (self._step, self._action.params):
            return "its record is of another step"
        trusted = paths_of("STEP_TRUSTED")
        own = [private_key(Path(path)).public for path in [os.environ.get("STEP_KEY")] if path]
        if trusted and not signer(found.envelope, [*own, *map(public_key, trusted)]):
            return "no key of signing.trusted signed it"
        return None

    def _without(self, error: OSError) -> None:
        """Go on without the store, which saves time and nothing else."""
        assert self._store
        folder, mend = self._store.folder, ""
        with contextlib.suppress(OSError):
            if isinstance(error, PermissionError):
                mend = f" ({mode_of(folder)}): join its group, or set store.path"
        say(f"  store {folder} cannot be used: {error.strerror}{mend}", error=True)
        self._store.close()
        self._store = None
