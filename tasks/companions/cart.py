"""A decision tree: CART (Breiman, Friedman, Olshen & Stone, 1984), as scikit-learn fits it."""

import os
import zipfile
from dataclasses import asdict
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.companion import Companion, Features
from tasks.errors import InputError
from tasks.specs import STRICT

VERSION = 1
LEAF = -1
"""Stands for the children that a leaf has not."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What the tree sees, and how far it grows."""

    features: Literal["pixels", "embedding"] = "pixels"
    """The images themselves, or what the head of the trained network sees of them."""
    max_depth: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Of questions asked in turn; None grows until leaves are pure or too small to divide."""
    min_samples_leaf: Annotated[int, Field(ge=1, le=10**9)] = 5
    """Training images in each leaf, at least. With 1 every leaf is certain of its class, and the
    mean of both classifiers' probabilities is the tree's word alone."""
    criterion: Literal["gini", "entropy"] = "gini"
    """What a question shall make small in its two answers."""


def build(config: Config) -> Companion:
    """A tree that has not grown yet."""
    return Cart(config=config)


@plain_dataclass(frozen=True, kw_only=True)
class Tree:
    """A grown tree: one row a node, the root first and every child after its parent."""

    feature: NDArray[np.int64]
    """Which column a node asks for."""
    threshold: NDArray[np.float64]
    """Values up to this go left."""
    left: NDArray[np.int64]
    """A node, or LEAF."""
    right: NDArray[np.int64]
    values: NDArray[np.float32]
    """Nodes × classes: the shares of the training images that came by."""
    width: int
    """Columns of the features."""

    def predict(self, features: Features) -> NDArray[np.float32]:
        """Walk all images down at once. Probabilities, images × classes."""
        if features.shape[1] != self.width:
            raise ValueError(f"features of {features.shape[1]} columns for {self.width}")
        nodes = np.zeros(len(features), np.int64)
        walking = np.arange(len(features))
        while len(walking := walking[self.left[nodes[walking]] != LEAF]):
            here = nodes[walking]
            goes_left = features[walking, self.feature[here]] <= self.threshold[here]
            nodes[walking] = np.where(goes_left, self.left[here], self.right[here])
        return self.values[nodes]

    def save(self, path: Path) -> None:
        """Write `path` (usually `companion.npz`) aside, then rename it."""
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        with aside.open("wb") as file:
            np.savez(file, allow_pickle=False, **asdict(self))
        aside.replace(path)


@plain_dataclass(frozen=True, kw_only=True)
class Cart:
    """Grows a tree by `config`, or reads one."""

    config: Config

    def fit(
        self, features: Features, labels: NDArray[np.int64], num_classes: int, seed: int
    ) -> Tree:
        """Grow a tree; `seed` decides between questions that divide equally well."""
        from sklearn.tree import DecisionTreeClassifier

        grown = DecisionTreeClassifier(
            criterion=self.config.criterion,
            max_depth=self.config.max_depth,
            min_samples_leaf=self.config.min_samples_leaf,
            random_state=seed,
        ).fit(features, labels)
        tree = grown.tree_
        values = np.zeros((tree.node_count, num_classes), np.float32)
        values[:, grown.classes_] = tree.value[:, 0, :]
        return Tree(
            feature=np.asarray(tree.feature, np.int64),
            threshold=np.asarray(tree.threshold, np.float64),
            left=np.asarray(tree.children_left, np.int64),
            right=np.asarray(tree.children_right, np.int64),
            values=values,
            width=features.shape[1],
        )

    def load(self, path: Path) -> Tree:
        """Read what `Tree.save` wrote.

        Raises InputError for a file that is damaged or could not be walked down.
        """
        try:
            # Opened here, since numpy leaves a file that it cannot read open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                tree = Tree(
                    feature=arrays["feature"].astype(np.int64),
                    threshold=arrays["threshold"].astype(np.float64),
                    left=arrays["left"].astype(np.int64),
                    right=arrays["right"].astype(np.int64),
                    values=arrays["values"].astype(np.float32),
                    width=int(arrays["width"]),
                )
        except (EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{path.name}: no readable tree ({type(error).__name__})") from error
        if not _sound(tree):
            raise InputError(f"{path.name}: no readable tree (its nodes lead nowhere)")
        return tree


def _sound(tree: Tree) -> bool:
    num_nodes = len(tree.left)
    columns = (tree.feature, tree.threshold, tree.left, tree.right)
    if not num_nodes or any(column.shape != (num_nodes,) for column in columns):
        return False
    inner = np.flatnonzero(tree.left != LEAF)
    children = np.stack((tree.left[inner], tree.right[inner]))
    # Every child after its parent: no walk can go round in circles.
    return bool(
        tree.values.ndim == 2
        and len(tree.values) == num_nodes
        and np.all((children > inner) & (children < num_nodes))
        and np.all((tree.feature[inner] >= 0) & (tree.feature[inner] < tree.width))
    )
