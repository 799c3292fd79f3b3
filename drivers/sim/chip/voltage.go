package chip

import (
	"fmt"
	"sync"
	"time"
)

// ADS1115 is TI's converter of 16 bits (datasheet SBAS444).
func ADS1115(w World) *Registers {
	return ads(w, 16, [8]time.Duration{8, 16, 32, 64, 128, 250, 475, 860})
}

// ADS1015 is TI's converter of 12 bits (datasheet SBAS473): the value stands in
// the upper bits.
func ADS1015(w World) *Registers {
	return ads(w, 12, [8]time.Duration{128, 250, 490, 920, 1600, 2400, 3300, 3300})
}

// ads converts what the multiplexer had when the conversion began. Its clock is
// five hundredths slow, as the datasheet allows.
func ads(w World, bits uint, rates [8]time.Duration) *Registers {
	r := &Registers{Width: 2, Fixed: []byte{0}, Initial: map[byte]uint32{1: 0x8583, 2: 0x8000, 3: 0x7fff}, Identity: 2}
	var running Conversion
	started := uint32(0)
	r.Started = running.Cancel
	r.Wrote = func(reg byte, v uint32) {
		if reg == 1 && v&0x8000 != 0 {
			started = v
			running.Begin(time.Second * 105 / 100 / rates[v>>5&7])
		}
	}
	r.Look = func(reg byte) {
		if running.Take() {
			r.Set(0, adsCode(w, started, bits))
		}
		if reg == 1 {
			v := r.Get(1) | 0x8000
			if running.Running() {
				v &^= 0x8000
			}
			r.Set(1, v)
		}
	}
	return r.Up()
}

// adsCode is the code of the chosen input; inputs against each other are not
// used here and read 0.
func adsCode(w World, config uint32, bits uint) uint32 {
	mux := config >> 12 & 7
	if mux < 4 {
		return 0
	}
	full := [8]float64{6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256}[config>>9&7]
	return Signed(w(fmt.Sprint("a", mux-4))/full*float64(int(1)<<(bits-1)), bits) << (16 - bits)
}

// SPI is a chip that answers each byte while it is sent. Answer gets all bytes
// of a selection and gives as many.
type SPI struct {
	Answer func(sent []byte) []byte
	// Started tells of a power-up, Spoil turns an answer into that of another
	// chip.
	Started func()
	Spoil   func(answer []byte)

	mu     sync.Mutex
	answer []byte
	wrong  bool
}

// Write takes what is sent.
func (s *SPI) Write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = s.Answer(b)
	if s.wrong && s.Spoil != nil {
		s.Spoil(s.answer)
	}
	return nil
}

// Read gives what was answered meanwhile.
func (s *SPI) Read(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(b, s.answer)
	return nil
}

// PowerLoss puts the chip back to its power-up.
func (s *SPI) PowerLoss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Started != nil {
		s.Started()
	}
}

// WrongID lets another chip answer.
func (s *SPI) WrongID(wrong bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = wrong
}

// MCP3008 is Microchip's converter of eight inputs (datasheet DS21295), with a
// reference of 3.3 V.
func MCP3008(w World) *SPI {
	return &SPI{
		Answer: func(sent []byte) []byte {
			answer := []byte{0xff, 0xff, 0xff}
			if len(sent) == 3 && sent[0] == 1 && sent[1]&0x80 != 0 {
				v := Scale(w(fmt.Sprint("ch", sent[1]>>4&7))/3.3*1024, 1023)
				answer[1], answer[2] = 0xf8|byte(v>>8), byte(v)
			}
			return answer
		},
		Spoil: func(answer []byte) { answer[1] |= 4 },
	}
}
