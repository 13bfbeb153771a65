"""The references of a run: the expression editor followed by the reference enhancers."""

from __future__ import annotations

from collections.abc import Sequence

from retalkit.stages import ExpressionEditorSession, FaceBatch, ReferenceBatch, ReferenceEnhancerSession


class EnhancedReferences:
    """An expression editor's session followed by reference enhancers; implements ``ExpressionEditorSession``.

    Does not close the sessions that it was given.
    """

    def __init__(self, editor: ExpressionEditorSession, enhancers: Sequence[ReferenceEnhancerSession]) -> None:
        self._editor = editor
        self._enhancers = enhancers

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """Return the editor's references after every enhancer; without images they are returned as they are."""
        references = self._editor.edit(faces)
        if references.images is None:
            return references
        for enhancer in self._enhancers:
            references = enhancer.enhance_references(faces, references)
        return references

    def close(self) -> None: ...
