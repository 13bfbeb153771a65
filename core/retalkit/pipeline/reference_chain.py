"""References that enhancers sharpen before the lip syncer sees them."""

from __future__ import annotations

from collections.abc import Sequence

from retalkit.stages import ExpressionEditorSession, FaceBatch, ReferenceBatch, ReferenceEnhancerSession


class SharperReferences:
    """An expression editor's session with enhancers behind it; implements ``ExpressionEditorSession``.

    Does not close what it was given.
    """

    def __init__(self, editor: ExpressionEditorSession, enhancers: Sequence[ReferenceEnhancerSession]) -> None:
        self._editor = editor
        self._enhancers = enhancers

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """The editor's references after every enhancer. Where no images were made there is nothing to sharpen."""
        references = self._editor.edit(faces)
        if references.images is None:
            return references
        for enhancer in self._enhancers:
            references = enhancer.enhance_references(faces, references)
        return references

    def close(self) -> None: ...
