"""Models as folders to share, on disk or on the Hugging Face Hub: `CamModel.from_pretrained("user/name")`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download

from utils.errors import InputError
from utils.experiment.exported import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, ExportedConfig, is_exported
from utils.files import whole_file
from utils.machine.device import Precision
from utils.model_card import model_card
from utils.training.checkpoint import save_safetensors


class HubModel(ModelHubMixin, ABC):
    """A model with `save_pretrained`, `from_pretrained` and `push_to_hub` of the library huggingface_hub.

    `from_pretrained` takes a folder or the name of a repository, and beside the library's own arguments `device` and `amp`
    (see `models.load_cam_model`).

    Args:
        net: the network, on its device.
        classes: C names.
        shorter_side, cap: size of images at the network's input (`utils.cams.inference.network_size`).
        precision: of the network.
        weights: the file that it was loaded from.
        white: white level of images of more than 8 bits; 0: found for each image (`utils.images.to_rgb`).
        run: options that the network was trained with, without which it cannot be exported.
    """

    def __init__(
        self,
        net: Any,
        classes: Sequence[str],
        shorter_side: int,
        precision: Precision,
        weights: Path,
        cap: int,
        white: float,
        run: Any,
    ):
        self.net = net.eval()
        self.classes = tuple(classes)
        self.shorter_side = shorter_side
        self.cap = cap
        self.white = white
        self.precision = precision
        self.weights = weights
        self.run = run

    @classmethod
    @abstractmethod
    def of_folder(cls, folder: Path, device: str, amp: str) -> "HubModel":
        """The model in an exported folder."""

    @abstractmethod
    def config_of_run(self, run: Any) -> ExportedConfig:
        """The content of `config.json` for this model, trained with `run`."""

    @property
    def exported_config(self) -> ExportedConfig:
        """The content of `config.json` for this model.

        Raises:
            InputError: the model was built without the options of its training.
        """
        if self.run is None:
            raise InputError("a model that was not loaded from an experiment or an exported folder cannot be exported")
        return self.config_of_run(self.run)

    def write(self, folder: Path, card: str) -> None:
        """Writes weights, model card and, once these are complete, the configuration that makes the folder loadable.

        Args:
            folder: is created where it is missing.
            card: the text of README.md.

        Raises:
            InputError: a file cannot be written.
        """
        config = self.exported_config.to_bytes()
        (folder / CONFIG_FILE).unlink(missing_ok=True)
        save_safetensors(self.net.state_dict(), folder / WEIGHTS_FILE)
        for name, content in ((CARD_FILE, card.encode()), (CONFIG_FILE, config)):
            with whole_file(folder / name, durable=True) as file:
                file.write(content)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Called by `save_pretrained`. A model from an exported folder keeps its card."""
        card = self.weights.with_name(CARD_FILE)
        if is_exported(self.weights.parent) and card.is_file():
            text = card.read_text(encoding="utf-8")
        else:
            text = model_card(self.exported_config, self.run)
        self.write(save_directory, text)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, device: str = "auto", amp: str = "off", **options: Any) -> "HubModel":
        """Called by `from_pretrained`; `options`: where to download from, and what the library read in config.json."""
        if Path(model_id).is_dir():
            return cls.of_folder(Path(model_id), device, amp)
        download = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        names = [CONFIG_FILE, WEIGHTS_FILE, CARD_FILE]
        folder = snapshot_download(model_id, allow_patterns=names, **{name: options[name] for name in download})
        return cls.of_folder(Path(folder), device, amp)
