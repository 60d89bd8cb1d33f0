"""The kernels that a notebook server offers: each Python one also with every GPU profile.

Which profiles there are, and what they are called in the person's language, the LMS says; where it
has no GPUs, or does not answer, only the usual kernels are listed. Of the machine's environments,
those of the person's courses are offered; who asks for another by its name still gets it.
"""

import time
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from lms.outposts.kernels.leasing import KernelChoices, LeaseApi, LeaseError
from lms.outposts.notebook.place import find_place

#: How long an answer of the LMS holds, and how long one waits for it, in seconds.
KEEP_SECONDS, TIMEOUT = 60.0, (1.0, 3.0)


class GpuKernelSpecs(KernelSpecManager):
    """Finds `python3.gpu-slice` beside `python3`, and the same for courses' environments."""

    _known = KernelChoices()
    _known_until = 0.0

    def find_kernel_specs(self) -> dict[str, str]:
        """Return the folder of each kernel's description by its name."""
        found: dict[str, str] = super().find_kernel_specs()
        choices = self._choices()
        if choices.environments is not None:
            hidden = {name for name in found if _is_environment(name)} - choices.environments
            found = {name: folder for name, folder in found.items() if name not in hidden}
        names = [name for name in found if _is_python(name)]
        for choice in choices.profiles:
            found.update({f"{name}.{choice.key}": found[name] for name in names})
        return found

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return a kernel's description; one with a GPU is there even while the LMS is away."""
        try:
            return super().get_kernel_spec(kernel_name)
        except NoSuchKernel:
            base, _, profile = kernel_name.partition(".")
            if not profile or not _is_python(base):
                raise
        spec: KernelSpec = super().get_kernel_spec(base)
        titles = {choice.key: choice.title for choice in self._known.profiles}
        ours: Any = spec.metadata.get("seodang", {})
        spec.metadata = spec.metadata | {"seodang": {**ours, "gpu": profile}}
        spec.display_name = f"{spec.display_name} · {titles.get(profile, profile)}"
        return spec

    def _choices(self) -> KernelChoices:
        place = find_place()
        if place.lms_url and place.token and time.monotonic() >= self._known_until:
            try:
                self._known = LeaseApi(place.lms_url, place.token, timeout=TIMEOUT).choices()
            except LeaseError as error:
                self.log.warning("no GPU kernels are listed: %s", error)
                self._known = KernelChoices()
            self._known_until = time.monotonic() + KEEP_SECONDS
        return self._known


def _is_python(name: str) -> bool:
    return name == "python3" or _is_environment(name)


def _is_environment(name: str) -> bool:
    return name.startswith("seodang-")
