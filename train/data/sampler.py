"""Which photos a training step sees."""

from torch.utils.data import Dataset


class StepIndexDataset(Dataset):
    """The slots of a stage: item i is (step, place in the step's batch)."""

    def __init__(self, steps: int, photos: int) -> None:
        self.steps, self.photos = steps, photos

    def __len__(self) -> int:
        return self.steps * self.photos

    def __getitem__(self, index: int) -> tuple[int, int]:
        return divmod(index, self.photos)
