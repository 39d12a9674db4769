"""A page and an HTTP API that ask models about uploaded videos. `web_server` starts it, `web_app` has the routes.

It needs the extra `serve`: fastapi, uvicorn and python-multipart.
"""
