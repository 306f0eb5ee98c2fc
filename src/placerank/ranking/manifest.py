"""Reads the header and the manifest of a stored model as if a stranger had written them.

Every check raises ModelError with a sentence; nothing else is ever raised, whatever the bytes are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, cast

from placerank.ranking.choice import Mixture
from placerank.ranking.errors import ModelError
from placerank.ranking.features import FEATURE_VERSION, WEIGHT_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = "placerank-model/1"
KINDS: Final = ("prior", "logit", "lapse", "rich")
TENSOR: Final = "weights"
WEIGHT_BYTES: Final = 8
LENGTH_BYTES: Final = 8
#: A model has about 7 kB. The bound keeps a wrong length or a wrong file from filling the memory.
MOST_BYTES: Final = 1 << 20

_READABLE: Final = (1, FEATURE_VERSION)
#: Metrics and spreads of features are far below it, and so a card that shows them stays readable.
_GREATEST_NUMBER: Final = 1e15
_MOST_ENTRIES: Final = 1_000
_LONGEST_TEXT: Final = 1_000
_DEEPEST: Final = 4


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts of a manifest, checked; ``names`` are those of its weights, in the order of the tensor."""

    kind: str
    names: tuple[str, ...]
    sha256: str
    metrics: Mapping[str, float]
    normaliser: Mapping[str, float]
    mixture: Mixture
    data: Mapping[str, str]


def split(data: bytes) -> tuple[Manifest, bytes]:
    """The manifest of an artifact and the bytes of its weights, little-endian float64, one for each name."""
    if not LENGTH_BYTES < len(data) <= MOST_BYTES:
        raise ModelError(f"The model has {len(data)} bytes: it is empty, cut, or not a model.")
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    if end > len(data):
        raise ModelError("The model is cut: its header is longer than the file.")
    header = _object(data[LENGTH_BYTES:end], "header")
    manifest = parse(_text(_entry(header, "__metadata__", dict), "manifest"))
    _check_tensor(header, len(manifest.names), len(data) - end)
    return manifest, data[end:]


def parse(text: str) -> Manifest:
    """The facts in the JSON of a manifest."""
    body = _object(text.encode(errors="surrogatepass"), "manifest")
    if body.get("seal") != seal(body):
        raise ModelError("The model is damaged: its manifest is not sealed, or does not match its own checksum.")
    _check_version(body)
    return Manifest(
        kind=_kind(body),
        names=_names(body),
        sha256=_text(body, "sha256"),
        metrics=_numbers(body, "metrics"),
        normaliser=_numbers(body, "normaliser"),
        mixture=_mixture(body),
        data=_texts(body, "data") if "data" in body else {},
    )


def seal(manifest: Mapping[str, Any]) -> str:
    """The sha256 of a manifest without its seal, in hexadecimal."""
    body = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(canonical(body).encode()).hexdigest()


def canonical(value: Mapping[str, Any]) -> str:
    """The JSON of a manifest; equal manifests have equal JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def shown(value: object) -> str:
    """A value for an error message, short and on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The model's {what} is not the JSON of a model: {_reason(error)}.") from None
    if not isinstance(found, dict) or not _is_flat(found, _DEEPEST):
        raise ModelError(f"The model's {what} is not a JSON object, or it is nested too deeply.")
    return found


def _is_flat(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is None or (levels > 0 and all(_is_flat(one, levels - 1) for one in inner))


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    if abs(found := float(text)) == float("inf"):
        raise ValueError("a number is too great")
    return found


def _entry(body: Mapping[str, Any], name: str, kind: type) -> Any:
    """An entry of exactly this type: JSON's true is no number."""
    if name not in body:
        raise ModelError(f"The model's manifest is missing or incomplete: there is no {name}.")
    if type(body[name]) is not kind:
        raise ModelError(f"The model's {name} is {shown(body[name])}; it has to be {_WORDS[kind]}.")
    return body[name]


_WORDS: Final = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}


def _text(body: Mapping[str, Any], name: str) -> str:
    return cast("str", _entry(body, name, str))


def _check_tensor(header: Mapping[str, Any], count: int, size: int) -> None:
    """One float64 tensor of ``count`` weights that ends where the bytes end."""
    expected = {"dtype": "F64", "shape": [count], "data_offsets": [0, count * WEIGHT_BYTES]}
    tensor = _entry(header, TENSOR, dict)
    # Compared as JSON, because in Python true and 1.0 equal 1.
    if set(header) != {"__metadata__", TENSOR} or _differs(tensor, expected):
        raise ModelError(f"The model does not hold one tensor of {count} float64 weights.")
    if size != count * WEIGHT_BYTES:
        raise ModelError(f"The model is cut, or bytes follow it: {size} bytes of weights, not {count * WEIGHT_BYTES}.")


def _differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return canonical(one) != canonical(other)


def _check_version(body: Mapping[str, Any]) -> None:
    if body.get("format") != FORMAT:
        raise ModelError(f"The model has the format {shown(body.get('format'))}; this version reads {FORMAT!r}.")
    # Version 2 has all terms of version 1, unchanged, and more. So both can be read.
    if _entry(body, "features", int) not in _READABLE:
        raise ModelError(
            f"The model is for features of version {shown(body['features'])}; this version has {FEATURE_VERSION}."
        )


def _kind(body: Mapping[str, Any]) -> str:
    kind = _text(body, "kind")
    if kind not in KINDS:
        raise ModelError(f"The model is of kind {shown(kind)}; this version knows {', '.join(KINDS)}.")
    return kind


def _names(body: Mapping[str, Any]) -> tuple[str, ...]:
    names = _entry(body, "weights", list)
    known = set(WEIGHT_NAMES)
    if not names or not all(type(name) is str and name in known for name in names):
        raise ModelError("The model's weights are not named, or are of features that this version does not have.")
    if len(set(names)) != len(names):
        raise ModelError("The model has two weights of the same name, so its features are not clear.")
    return tuple(names)


def _numbers(body: Mapping[str, Any], name: str) -> dict[str, float]:
    found = _entry(body, name, dict)
    _check_keys(found, name)
    return {key: _number(value, f"{name} {key}") for key, value in found.items()}


def _number(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not -_GREATEST_NUMBER <= value <= _GREATEST_NUMBER:
        raise ModelError(f"The model's {what} is {shown(value)}; it has to be a number of ordinary size.")
    return float(value)


def _texts(body: Mapping[str, Any], name: str) -> dict[str, str]:
    found: dict[str, str] = _entry(body, name, dict)
    _check_keys(found, name)
    if not all(type(value) is str and _is_plain(value) for value in found.values()):
        raise ModelError(f"The model's {name} holds something else than plain texts.")
    return found


def _check_keys(found: Mapping[str, Any], name: str) -> None:
    if len(found) > _MOST_ENTRIES or not all(_is_plain(key) for key in found):
        raise ModelError(f"The model's {name} has too many entries, or a name that is not a plain text.")


def _is_plain(text: str) -> bool:
    """Without control characters or halves of characters, which neither a card nor the database can hold."""
    return len(text) <= _LONGEST_TEXT and text.isprintable()


def _mixture(body: Mapping[str, Any]) -> Mixture:
    """The mixture; models that were made before there was one have none."""
    if "mixture" not in body:
        return Mixture()
    found = _numbers(body, "mixture")
    if unknown := set(found) - {field.name for field in fields(Mixture)}:
        raise ModelError(f"The model's mixture has an entry that this version does not know: {shown(min(unknown))}.")
    mixture = Mixture(**found)
    if not mixture.usable:
        raise ModelError(f"The model's mixture cannot be used: {mixture}.")
    return mixture
