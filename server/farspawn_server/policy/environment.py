"""Which names of the environment a caller may set."""

from __future__ import annotations

from collections.abc import Sequence

# What changes which code a program runs, before or besides what its arguments say. Sources: ld.so(8), bash(1), perlrun,
# and the manuals of the others.
DANGEROUS = (
    "LD_*",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "MALLOC_*",
    "HOSTALIASES",
    "PATH",
    "IFS",
    "ENV",
    "BASH_*",
    "BASHOPTS",
    "SHELLOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "PYTHON*",
    "PERL5*",
    "PERLLIB",
    "PERL_*",
    "RUBYLIB",
    "RUBYOPT",
    "GEM_*",
    "BUNDLE_*",
    "NODE_*",
    "NPM_*",
    "JAVA_TOOL_OPTIONS",
    "JDK_*",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "LUA_*",
    "R_*",
    "GIT_*",
    "TAR_OPTIONS",
    "HOME",
    "XDG_*",
    "ZDOTDIR",
    "MAKE*",
    "PAGER",
    "MANPAGER",
    "EDITOR",
    "VISUAL",
    "SHELL",
    "BROWSER",
    "RSYNC_*",
    "DOTNET_*",
    "CORECLR_*",
    "COR_*",
    "JULIA_*",
    "PHPRC",
    "PHP_*",
    "OMPI_MCA_*",
    "PMIX_MCA_*",
    "CC",
    "CXX",
    "TRITON_*",
    "TORCH_EXTENSIONS_DIR",
    "TMPDIR",
    "GETCONF_DIR",
    "RES_OPTIONS",
    "LOCALDOMAIN",
    "RESOLV_HOST_CONF",
    "NIS_PATH",
    "TZDIR",
    "SSH_*",
    "LESSOPEN",
    "LESSCLOSE",
    "CUDA_INJECTION*",
    "NCCL_*PLUGIN",
    "OPENSSL_*",
    "SSLKEYLOGFILE",
)


def may_set(name: str, allowed: Sequence[str] | None, *, is_admin: bool) -> bool:
    """Whether a caller may set a name.

    Args:
        name: of the environment.
        allowed: names that callers may set, see `covers`. `*` and `L*` mean all such that do no harm: what does is to
            be named, as by `LD_*`. None: all that do no harm, and for admins all.
        is_admin: whether the caller is one.
    """
    if is_admin or not covers(DANGEROUS, name):
        return allowed is None or covers(allowed, name)
    return allowed is not None and covers([each for each in allowed if _names_danger(each)], name)


def _names_danger(pattern: str) -> bool:
    """Whether whoever wrote this meant names that do harm: one of them, or a beginning that only they have."""
    before, star, _ = pattern.partition("*")
    return not star or any(before.startswith(each.partition("*")[0]) for each in DANGEROUS if "*" in each)


def covers(patterns: Sequence[str], name: str) -> bool:
    """Whether a name is one of these, where `*` stands for anything."""
    return any(_matches(pattern, name) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return name == pattern
    return len(name) >= len(before) + len(after) and name.startswith(before) and name.endswith(after)
