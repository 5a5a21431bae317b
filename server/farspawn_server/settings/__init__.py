"""What a site's owner decides."""

from farspawn_server.settings.load import Given, SettingsError, check_enforceable, load
from farspawn_server.settings.schema import (
    AuditSettings,
    CeilingSettings,
    CleanupSettings,
    DrainSettings,
    GrantSettings,
    LimitSettings,
    ParameterSettings,
    PolicySettings,
    ProgramSettings,
    ReadinessSettings,
    Settings,
    StopSettings,
    TemplateSettings,
    TlsSettings,
)

__all__ = [
    "AuditSettings",
    "CeilingSettings",
    "CleanupSettings",
    "DrainSettings",
    "Given",
    "GrantSettings",
    "LimitSettings",
    "ParameterSettings",
    "PolicySettings",
    "ProgramSettings",
    "ReadinessSettings",
    "Settings",
    "SettingsError",
    "StopSettings",
    "TemplateSettings",
    "TlsSettings",
    "check_enforceable",
    "load",
]
