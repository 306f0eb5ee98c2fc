"""The same ranking behind LitServe, without any storage: ``python -m bench.litserve_app PORT``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import litserve
import torch
from bench.plain.tables import places, traveller_of

from placerank.ranking.catalogue import PlaceTable
from placerank.ranking.prior import prior
from placerank.ranking.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placerank.domain import Traveller
    from placerank.ranking.scoring.scorer import Ranking

_BATCH = 64


class Ranker(litserve.LitAPI):  # type: ignore[misc]
    """One worker. Like placerank's worker, it forms batches of up to 64 requests without waiting for more."""

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self._scorer = Scorer(prior(), PlaceTable.from_places(1, places()), device=device)
        self._places = [asdict(place) for place in places()]

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        # LitServe turns annotated parameters into query parameters, so there are no annotations here.
        return traveller_of(request)

    def batch(self, inputs: list[Traveller]) -> list[Traveller]:
        return inputs

    def predict(self, travellers: Sequence[Traveller]) -> list[Ranking]:
        return self._scorer.rank(travellers, 10)

    def unbatch(self, output: list[Ranking]) -> list[Ranking]:
        return output

    def encode_response(self, output: Ranking) -> dict[str, Any]:
        shown = zip(output.scores, output.rows, strict=True)
        results = [{"score": score, **self._places[row]} for score, row in shown]
        return {"task_id": "", "status": "SUCCESS", "results": results}


def main() -> None:
    """Serves until SIGTERM."""
    server = litserve.LitServer(Ranker(max_batch_size=_BATCH, batch_timeout=0.0), accelerator="cpu", fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, log_level="warning", generate_client_file=False
    )


if __name__ == "__main__":
    main()
