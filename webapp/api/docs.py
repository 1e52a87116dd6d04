"""/openapi.json and /docs: Swagger UI out of flask-openapi3-swagger's wheel, so it works without any network."""

from pathlib import Path

import flask_openapi3_swagger
from flask import Blueprint, Response, current_app, json, send_from_directory

docs = Blueprint("docs", __name__)

ASSETS = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
          "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Simyard API</title>
<link rel="icon" href="docs/assets/images/swagger.svg">
<link rel="stylesheet" href="docs/assets/css/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/assets/js/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#page", deepLinking: true, persistAuthorization: true, validatorUrl: null
});
"""


@docs.get("/openapi.json")
def openapi() -> Response:
    """The API's description, OpenAPI 3.1."""
    return Response(json.dumps(current_app.api_doc), mimetype="application/json")  # type: ignore[attr-defined]


@docs.get("/docs")
def page() -> Response:
    """The description to read and try."""
    return Response(PAGE, mimetype="text/html", headers={"Content-Security-Policy": POLICY})


@docs.get("/docs/start.js")
def start() -> Response:
    """The page's own script, apart so that no inline script need be allowed."""
    return Response(START, mimetype="text/javascript")


@docs.get("/docs/assets/<path:name>")
def asset(name: str) -> Response:
    """A file of Swagger UI."""
    return send_from_directory(ASSETS, name, max_age=3600)
