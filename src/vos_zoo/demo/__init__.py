"""`vos-zoo demo`: a page on this machine to draw objects on a video, track and correct them, and export the masks.

The page is plain HTML and JavaScript on a canvas, served by Starlette and uvicorn (extra ``demo``); it loads nothing
from other machines. Gradio was not taken: its image editor has a brush and layers, but no box to drag and no objects
with ids, sends the whole picture with every change, and its telemetry is on unless it is switched off.

`project.Project` is everything that a tab can do and knows no web framework; `server` maps addresses to its methods.
"""
