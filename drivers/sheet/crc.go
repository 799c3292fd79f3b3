package sheet

import (
	"encoding/binary"
	"fmt"

	"github.com/tidehold/tidehold/drivers"
)

// Sensirion is the polynomial x⁸+x⁵+x⁴+1 of most humidity sensors.
const Sensirion = 0x31

// CRC8 is the checksum of b, high bit first, without reflection.
func CRC8(poly, start byte, b []byte) byte {
	crc := start
	for _, v := range b {
		crc ^= v
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ poly
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// Words takes the words out of b: each two bytes, high first, and their
// checksum. A wrong one is ErrCRC.
func Words(b []byte, start byte) ([]uint16, error) {
	words := make([]uint16, 0, len(b)/3)
	for ; len(b) >= 3; b = b[3:] {
		if want := CRC8(Sensirion, start, b[:2]); b[2] != want {
			return nil, fmt.Errorf("word %d: 0x%02x, want 0x%02x: %w", len(words), b[2], want, drivers.ErrCRC)
		}
		words = append(words, binary.BigEndian.Uint16(b))
	}
	return words, nil
}

// WithCRC is command followed by words, each with its checksum.
func WithCRC(command uint16, words ...uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, command)
	for _, w := range words {
		b = binary.BigEndian.AppendUint16(b, w)
		b = append(b, CRC8(Sensirion, 0xff, b[len(b)-2:]))
	}
	return b
}
