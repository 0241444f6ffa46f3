"""What a user would write instead: a plain PyTorch script, one run, torch's own threads."""

import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


def main(seed: int, epochs: int, batch_size: int, num_train: int) -> None:
    torch.manual_seed(seed)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    images = torch.tensor(digits.images[order] / 8 - 1, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target[order])
    train, val, test = slice(0, num_train), slice(900, 1000), slice(1000, None)
    layers: list[nn.Module] = []
    channels = 1
    for wide in (24, 24, 48, 48):
        if len(layers) == 6:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        layers += [
            nn.Conv2d(channels, wide, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
        ]
        channels = wide
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = -(-num_train // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    best, weights = -1.0, {}
    for _ in range(epochs):
        model.train()
        shuffled = torch.randperm(num_train)
        for rows in shuffled.split(batch_size):
            loss = F.cross_entropy(model(images[train][rows]), labels[train][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(images[val]).argmax(1) == labels[val]).float().mean().item()
        if accuracy > best:
            best, weights = accuracy, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(weights)
    model.eval()
    with torch.no_grad():
        accuracy = (model(images[test]).argmax(1) == labels[test]).float().mean().item()
    print(f"seed {seed}: test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
