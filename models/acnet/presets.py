"""Trainings of ACNet by name: ours, and as Lee et al. 2021 describe theirs."""

from dataclasses import dataclass

from afdaemon.models.acnet.train import TrainConfig

OURS, PUBLISHED = "ours", "published"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcnetPreset:
    """A training, apart from its frames: `series` focus series, and how the network learns from them.

    With `dataset2` they are sweeps with equal steps on one instrument, interpolated by splines to 1 um, and the best WD
    is where the score is highest; else they are dense near the focus, which is known from the simulator.
    """

    source: str
    config: TrainConfig
    series: int
    dataset2: bool = False


PRESETS = {
    OURS: AcnetPreset(
        source="ours: 512 runs side by side; errors on a scale that counts depths of focus near the focus",
        config=TrainConfig(),
        series=160,
    ),
    # ASSUMED: an episode is 91 runs and 20 batches; a run that never arrives ends after 40 steps.
    PUBLISHED: AcnetPreset(
        source="Lee et al. 2021: 91 series of 250 frames, splines, plain squares, batches of 90 at rate .01,"
        " 3000 episodes, 20 more steps at the best WD; runs and batches an episode are ours",
        config=TrainConfig(
            episodes=3000,
            parallel=91,
            steps=40,
            updates=20,
            batch=90,
            learning_rate=0.01,
            exploration=0.5,
            exploration_decay=0.995,
            squares=True,
            final_rate=1.0,
            standardised=False,
            steps_beyond=20,
            bounded=True,
        ),
        series=91,
        dataset2=True,
    ),
}
