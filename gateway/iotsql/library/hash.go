package library

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

func md5Hex(s string) string    { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }
func sha1Hex(s string) string   { sum := sha1.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }
func sha224Hex(s string) string { sum := sha256.Sum224([]byte(s)); return hex.EncodeToString(sum[:]) }
func sha256Hex(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
func sha384Hex(s string) string { sum := sha512.Sum384([]byte(s)); return hex.EncodeToString(sum[:]) }
func sha512Hex(s string) string { sum := sha512.Sum512([]byte(s)); return hex.EncodeToString(sum[:]) }

const md2Block = 16

// md2Hex is RFC 1319, which the standard library does not have.
func md2Hex(s string) string {
	padding := md2Block - len(s)%md2Block
	text := make([]byte, len(s), len(s)+2*md2Block)
	copy(text, s)
	for range padding {
		text = append(text, byte(padding))
	}
	var checksum [md2Block]byte
	last := byte(0)
	for i, b := range text {
		checksum[i%md2Block] ^= md2Pi[b^last]
		last = checksum[i%md2Block]
	}
	text = append(text, checksum[:]...)
	var state [3 * md2Block]byte
	for ; len(text) > 0; text = text[md2Block:] {
		md2Mix(&state, text[:md2Block])
	}
	return hex.EncodeToString(state[:md2Block])
}

func md2Mix(state *[3 * md2Block]byte, block []byte) {
	for i, b := range block {
		state[md2Block+i] = b
		state[2*md2Block+i] = b ^ state[i]
	}
	t := byte(0)
	for round := range 18 {
		for i := range state {
			state[i] ^= md2Pi[t]
			t = state[i]
		}
		t += byte(round)
	}
}

func encode(v, scheme value.Value) value.Value {
	s, ok := v.AsText()
	if !ok || scheme.Str() != "base64" {
		return value.Value{}
	}
	return EncodeBase64([]byte(s))
}

// EncodeBase64 is encode of raw bytes.
func EncodeBase64(raw []byte) value.Value {
	return value.Text(base64.StdEncoding.EncodeToString(raw))
}

// md2Pi is the permutation that RFC 1319 takes from the digits of pi.
var md2Pi = [256]byte{
	41, 46, 67, 201, 162, 216, 124, 1, 61, 54, 84, 161, 236, 240, 6, 19,
	98, 167, 5, 243, 192, 199, 115, 140, 152, 147, 43, 217, 188, 76, 130, 202,
	30, 155, 87, 60, 253, 212, 224, 22, 103, 66, 111, 24, 138, 23, 229, 18,
	190, 78, 196, 214, 218, 158, 222, 73, 160, 251, 245, 142, 187, 47, 238, 122,
	169, 104, 121, 145, 21, 178, 7, 63, 148, 194, 16, 137, 11, 34, 95, 33,
	128, 127, 93, 154, 90, 144, 50, 39, 53, 62, 204, 231, 191, 247, 151, 3,
	255, 25, 48, 179, 72, 165, 181, 209, 215, 94, 146, 42, 172, 86, 170, 198,
	79, 184, 56, 210, 150, 164, 125, 182, 118, 252, 107, 226, 156, 116, 4, 241,
	69, 157, 112, 89, 100, 113, 135, 32, 134, 91, 207, 101, 230, 45, 168, 2,
	27, 96, 37, 173, 174, 176, 185, 246, 28, 70, 97, 105, 52, 64, 126, 15,
	85, 71, 163, 35, 221, 81, 175, 58, 195, 92, 249, 206, 186, 197, 234, 38,
	44, 83, 13, 110, 133, 40, 132, 9, 211, 223, 205, 244, 65, 129, 77, 82,
	106, 220, 55, 200, 108, 193, 171, 250, 36, 225, 123, 8, 12, 189, 177, 74,
	120, 136, 149, 139, 227, 99, 232, 109, 233, 203, 213, 254, 59, 0, 29, 57,
	242, 239, 183, 14, 102, 88, 208, 228, 166, 119, 114, 248, 235, 117, 75, 10,
	49, 68, 80, 180, 143, 237, 31, 26, 219, 153, 141, 51, 159, 17, 131, 20,
}
