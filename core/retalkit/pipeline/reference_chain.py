"""Reference chain of a run: the expression editor followed by the reference enhancers."""

from __future__ import annotations

from collections.abc import Sequence

from retalkit.stages import ExpressionEditorSession, FaceBatch, ReferenceBatch, ReferenceEnhancerSession


class EnhancedReferences:
    """Implementation of ``ExpressionEditorSession`` that applies reference enhancers to an expression editor's
    references.

    Closing an instance does not close the sessions that were passed to its constructor.
    """

    def __init__(self, editor: ExpressionEditorSession, enhancers: Sequence[ReferenceEnhancerSession]) -> None:
        self._editor = editor
        self._enhancers = enhancers

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """Return the editor's references after all enhancers have been applied. A reference batch without images is not
        enhanced."""
        references = self._editor.edit(faces)
        if references.images is None:
            return references
        for enhancer in self._enhancers:
            references = enhancer.enhance_references(faces, references)
        return references

    def close(self) -> None: ...
