"""Answers about advisories, page by page: what the catalogue has, chosen and cut to size."""

from __future__ import annotations

from collections.abc import Sequence

from common.pb.v1 import report_pb2 as pb
from controller.api import paging, translate_report
from controller.api.checks import Checks, reference
from controller.api.translate import CATEGORY, SEVERITY
from controller.compliance.model import Category
from controller.dispatch.catalog import Catalog, Entry
from controller.fleet.model import Instance

_MAX_TEXT = 200


async def listed(
    catalog: Catalog, request: pb.ListAdvisoriesRequest, instances: Sequence[Instance]
) -> pb.ListAdvisoriesResponse:
    """Return a page of the advisories of these instances' repositories that the request means, the newest first."""
    checks = Checks()
    categories = frozenset[Category](CATEGORY.read_all(checks, "categories", request.categories))
    severities = frozenset(SEVERITY.read_all(checks, "severities", request.severities))
    words = checks.text("text", request.text, _MAX_TEXT).lower().split()
    checks.done()
    size = paging.page_size(request.page_size)
    after = paging.read_token(request, request.page_token, (int, str))

    def wanted(entry: Entry) -> bool:
        return (
            (after is None or entry.position > after)
            and (not categories or entry.advisory.category in categories)
            and (not severities or entry.advisory.severity in severities)
            and (not words or _says(entry, words))
        )

    page = await catalog.entries(instances, wanted, affecting_only=request.affecting_only, limit=size + 1)
    return pb.ListAdvisoriesResponse(
        advisories=[translate_report.advisory_message(entry) for entry in page[:size]],
        next_page_token=paging.make_token(request, page[size - 1].position) if len(page) > size else "",
    )


async def affected(
    catalog: Catalog, request: pb.ListAffectedRequest, fleet: Sequence[Instance], instances: Sequence[Instance]
) -> pb.ListAffectedResponse:
    """Return a page of those of the instances whom an advisory or a CVE of the fleet's repositories concerns."""
    wanted = reference("reference", request.reference)
    size = paging.page_size(request.page_size)
    after = paging.read_token(request, request.page_token, (str,) * 6)
    found = await catalog.concerned(wanted, fleet, instances, include_fixed=request.include_fixed)
    rows = [row for row in found.rows if after is None or row.position > after]
    return pb.ListAffectedResponse(
        affected=[translate_report.affected_message(row) for row in rows[:size]],
        next_page_token=paging.make_token(request, rows[size - 1].position) if len(rows) > size else "",
        affected_instances=found.affected,
        unknown_instances=found.unknown,
    )


def _says(entry: Entry, words: Sequence[str]) -> bool:
    """Say whether each word stands in the id, the title, a CVE or a package name."""
    advisory = entry.advisory
    texts = [advisory.id, advisory.title, *advisory.cves, *(p.name for p in entry.packages)]
    text = "\n".join(texts).lower()
    return all(word in text for word in words)
