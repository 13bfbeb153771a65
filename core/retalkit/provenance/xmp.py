"""XMP packet with the IPTC fields that describe an edited video.

The fields are those of the IPTC Photo Metadata Standard 2025.1 and of the IPTC Video Metadata Hub.
"""

from __future__ import annotations

import html
import struct
from typing import Final

from retalkit.stages import DigitalSourceType

_UUID: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""Type of the ``uuid`` box that contains XMP in mp4 and mov files (XMP specification part 3, section 1.2.7.1)."""
_TEMPLATE: Final = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
   xmlns:xmp="http://ns.adobe.com/xap/1.0/"
   xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
   xmp:CreatorTool={tool}
   Iptc4xmpExt:DigitalSourceType={source_type}
   Iptc4xmpExt:AISystemUsed={system}
   Iptc4xmpExt:AISystemVersionUsed={version}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def xmp_box(source_type: DigitalSourceType, system: str, version: str) -> bytes:
    """Return the ``uuid`` box with the XMP packet, which can be appended to an mp4 or mov file."""
    packet = _TEMPLATE.format(
        tool=_attribute(f"{system} {version}"),
        source_type=_attribute(source_type.uri),
        system=_attribute(system),
        version=_attribute(version),
    ).encode()
    return struct.pack(">I4s", 8 + len(_UUID) + len(packet), b"uuid") + _UUID + packet


def _attribute(value: str) -> str:
    # The escaped characters are those of XML. `xml.sax.saxutils` would also import an HTTP client.
    return f'"{html.escape(value)}"'
