#!/usr/bin/env python3
"""One GRPO update here and in PyTorch, in turn, on one thread each.

    pip install torch
    python3 docs/train_step_pytorch.py target/release/energyllm

Both do the same work: a policy 5-32-32-32-32-5808 with ReLU, 64 samples of different states, 10 epochs of one
minibatch, clipped ratio, exact KL to a reference whose log-probabilities are known before, entropy bonus, gradient norm
clipped to 1, Adam. PyTorch computes in f32 (its default, and what the published prototype uses), energyllm in f64.

CPU time is what a shared machine can tell: time while other programs run does not count in it. Both programs run in
turn, several rounds, so that both meet the same neighbours. The ratio is that of the medians.
"""

import json
import os
import statistics
import subprocess
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
import torch  # noqa: E402  (the number of threads comes first)

SAMPLES, EPOCHS, STATE, HIDDEN, ACTIONS = 64, 10, 5, 32, 5808
CLIP, KL, ENTROPY, RATE = 0.2, 0.1, 0.02, 1e-4
ROUNDS, UPDATES = 9, 5


def policy() -> torch.nn.Sequential:
    """The published shape: four hidden layers and one head over all actions."""
    widths = [STATE] + [HIDDEN] * 4
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(HIDDEN, ACTIONS))


class Update:
    """An update of a fresh copy of the same policy on the same samples."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.start = policy()
        self.states = torch.rand(SAMPLES, STATE) * 2 - 1
        with torch.no_grad():
            self.reference = torch.log_softmax(self.start(self.states), dim=-1)
        self.actions = torch.multinomial(self.reference.exp(), 1)
        self.before = self.reference.gather(1, self.actions)
        self.advantages = (torch.arange(SAMPLES).remainder(8) / 2 - 1.75).unsqueeze(1)

    def measure(self) -> tuple[float, float]:
        """Milliseconds of CPU time and on the wall."""
        network = policy()
        network.load_state_dict(self.start.state_dict())
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(EPOCHS):
            logs = torch.log_softmax(network(self.states), dim=-1)
            probabilities = logs.exp()
            ratio = (logs.gather(1, self.actions) - self.before).exp()
            clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
            surrogate = -torch.minimum(ratio * self.advantages, clipped * self.advantages).mean()
            divergence = (probabilities * (logs - self.reference)).sum(dim=-1).mean()
            entropy = -(probabilities * logs).sum(dim=-1).mean()
            loss = surrogate + KL * divergence - ENTROPY * entropy
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        return (time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3


def ours(program: str) -> tuple[float, float]:
    """The same of a few updates of energyllm: medians."""
    command = [program, "bench", "train-step", "--json", "--updates", str(UPDATES)]
    wall = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["wall"]
    return wall["cpu_median_ms"], wall["wall_median_ms"]


def spread(values: list[float]) -> str:
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:7.1f} ms (quartiles {lower:.1f} to {upper:.1f})"


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    update = Update()
    update.measure()
    theirs, own = [], []
    for _ in range(ROUNDS):
        own.append(ours(sys.argv[1]))
        times = [update.measure() for _ in range(UPDATES)]
        theirs.append(tuple(statistics.median(column) for column in zip(*times)))
    print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, f32, one thread")
    ratios = []
    for name, column in (("CPU time", 0), ("wall", 1)):
        mine, other = [row[column] for row in own], [row[column] for row in theirs]
        ratios.append(statistics.median(mine) / statistics.median(other))
        print(f"{name:9} energyllm {spread(mine)}   PyTorch {spread(other)}   ratio {ratios[-1]:.2f}")
    print("at least as fast as PyTorch" if ratios[0] <= 1.0 else "slower than PyTorch")
    return 0 if ratios[0] <= 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
