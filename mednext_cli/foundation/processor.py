"""What the system tells of its processor."""

from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def processor_lines(cpu_info: Path = CPU_INFO) -> list[str]:
    """The lines of Linux's description of all cores; none on other systems."""
    try:
        return cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
