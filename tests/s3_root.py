"""What somebody does by hand with a key: `python -m tests.s3_root ORDERS [root|writer]`, in any network namespace.

Orders are JSON: [[method of boto3's client, or of MinIO's with `admin.` before it, parameters], …]. Standard input is a
JSON `Target`; standard output a list of answers, {"Error": code} for one that S3 refused.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from botocore.exceptions import ClientError

from tests.s3_target import Target


def answer(target: Target, who: str, method: str, parameters: dict[str, Any]) -> Any:
    """Of one order."""
    if method.startswith("admin."):
        said = getattr(target.admin_of(who), method.removeprefix("admin."))(**parameters)
        return json.loads(said) if isinstance(said, str) and said[:1] in "{[" and said else said
    client = target.by_root if who == "root" else target.by_writer
    try:
        return getattr(client, method)(**parameters)
    except ClientError as error:
        return {"Error": error.response["Error"]["Code"]}


def main() -> None:
    """See the module."""
    target = Target(**json.load(sys.stdin))
    who = sys.argv[2] if len(sys.argv) > 2 else "root"
    json.dump([answer(target, who, *order) for order in json.loads(sys.argv[1])], sys.stdout, default=str)


if __name__ == "__main__":
    main()
