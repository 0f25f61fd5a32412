"""What every victim must answer."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.attack import Victim
from trilemma.errors import AttackError
from trilemma.tasks.task import Text


def checked(victim: Victim) -> Callable[[Sequence[Text]], NDArray[np.float32]]:
    """The victim as a service that answers with one distribution a text, or ends the attack."""

    def answer(texts: Sequence[Text]) -> NDArray[np.float32]:
        probabilities = np.asarray(victim(texts), np.float32)
        if probabilities.ndim != 2 or len(probabilities) != len(texts):
            raise AttackError(
                f"the victim answered {len(texts)} texts with an array of shape {probabilities.shape}; "
                "it must return class probabilities [texts, classes]"
            )
        broken = ~np.isfinite(probabilities).all(axis=1)
        if broken.any():
            raise AttackError(
                f"the victim's answer to {texts[int(broken.argmax())]!r} is no number; mend it and run again"
            )
        return probabilities

    return answer
