"""Key files of a cluster, and the settings that use them."""

from pathlib import Path

from relay.shared.curve_keys import ClientKeys, KeyPair, new_key_pair, write_key_file


class Keys:
    """A key for each name, in `directory`; one of the names is `relay`."""

    def __init__(self, directory: Path, *names: str) -> None:
        self._directory = directory
        self.pairs: dict[str, KeyPair] = {}
        for name in ("relay", *names):
            self.pairs[name] = new_key_pair()
            write_key_file(self.file(name), name, self.pairs[name])

    def file(self, name: str) -> Path:
        """Return the key file."""
        return self._directory / f"{name}.key"

    def public(self, name: str) -> str:
        """Return the public key as `relay.toml` has it."""
        return self.pairs[name].public.hex()

    def relay_env(self) -> dict[str, str]:
        """Return the settings of the relay."""
        return {"RELAY_CURVE_KEY_FILE": str(self.file("relay"))}

    def env(self, prefix: str, name: str) -> dict[str, str]:
        """Return the settings with `prefix` (`EDGE`, `EMITTER`) of who connects as `name`."""
        return {
            f"{prefix}_CURVE_KEY_FILE": str(self.file(name)),
            f"{prefix}_RELAY_CURVE_KEY": self.public("relay"),
        }

    def client(self, name: str) -> ClientKeys:
        """Return the keys of a raw socket."""
        return ClientKeys(self.pairs[name], self.pairs["relay"].public)
