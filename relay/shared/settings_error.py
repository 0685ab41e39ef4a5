"""The error of a setting that cannot be used."""


class SettingsError(Exception):
    """A setting that cannot be used; the text names the setting and the allowed values."""
