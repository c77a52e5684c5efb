"""Fuzzing by coverage, with atheris, in a process that does nothing else."""

import argparse

SLOWEST_S = 5.0
"""An input that takes longer is a finding: somebody could send many of them."""


def run(name: str, given: argparse.Namespace) -> None:
    """Fuzz one target; does not return. The exit code is 0 where nothing was found."""
    import atheris

    with atheris.instrument_imports(include=["afdaemon"]):
        from tests.fuzz.targets import CORPUS, TARGETS
    target = TARGETS[name]
    corpus = given.findings / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    words = given.findings / f"words-{name}"
    words.write_text("".join(_quoted(word) for word in target.words))
    options = [
        f"-max_total_time={max(1, round(60.0 * given.minutes))}", f"-seed={given.seed + 1}", f"-dict={words}",
        f"-timeout={round(SLOWEST_S)}", f"-artifact_prefix={given.findings}/{name}-", "-max_len=65536",
        "-print_final_stats=1", str(corpus), str(CORPUS / name),
    ]  # fmt: skip
    (CORPUS / name).mkdir(exist_ok=True)
    atheris.Setup([name, *options], target.take)
    atheris.Fuzz()


def _quoted(word: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'
