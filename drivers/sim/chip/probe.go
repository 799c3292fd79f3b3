package chip

import "encoding/binary"

// MAX31855 is Maxim's converter for thermocouples (datasheet 19-5793).
func MAX31855(w World) *SPI {
	return &SPI{
		Answer: func(sent []byte) []byte {
			v := Signed(w("temperature")/0.25, 14)<<18 | Signed(w("internal")/0.0625, 12)<<4
			return binary.BigEndian.AppendUint32(nil, v)
		},
		Spoil: func(answer []byte) { answer[3] |= 8 },
	}
}

// MAX31865 is Maxim's converter for platinum resistors (datasheet 19-6478): a
// Pt100 on a reference of 430 ohms, measured only while the bias is on.
func MAX31865(w World) *SPI {
	var registers [8]byte
	s := &SPI{}
	s.Started = func() { registers = [8]byte{3: 0xff, 4: 0xff} }
	s.Spoil = func(answer []byte) {
		for i := range answer {
			answer[i] ^= 0x24
		}
	}
	s.Answer = func(sent []byte) []byte {
		answer := make([]byte, len(sent))
		if sent[0]&0x80 != 0 {
			for i, v := range sent[1:] {
				registers[(int(sent[0])+i)&7] = v
			}
			registers[0] &^= 0x22 // clear and one-shot go back by themselves
			return answer
		}
		if registers[0]&0xc0 == 0xc0 {
			binary.BigEndian.PutUint16(registers[1:], uint16(Scale(pt100(w("temperature"))/430*32768, 32767)<<1))
		}
		for i := range answer[1:] {
			answer[1+i] = registers[(int(sent[0])+i)&7]
		}
		return answer
	}
	s.Started()
	return s
}

// pt100 is the resistance of a Pt100 (IEC 60751).
func pt100(celsius float64) float64 {
	r := 1 + 3.9083e-3*celsius - 5.775e-7*celsius*celsius
	if celsius < 0 {
		r += -4.183e-12 * (celsius - 100) * celsius * celsius * celsius
	}
	return 100 * r
}
