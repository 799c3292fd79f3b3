package bme280

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/proof"
	"github.com/tidehold/tidehold/drivers/sim"
)

// board gives a simulated chip at 0x76 and its handle.
func board(t *testing.T, simulate map[string]any) (*sim.World, *drivers.Handle) {
	t.Helper()
	w := sim.NewWorld()
	bus, err := w.AddBus(drivers.BusConfig{Name: "board", Type: "sim"})
	if err != nil {
		t.Fatal(err)
	}
	c := drivers.SensorConfig{Name: "climate", Driver: "bme280", Bus: "board", Address: []uint16{0x76}, Simulate: simulate}
	if err := w.AddSensor(c, Driver{}.Describe()); err != nil {
		t.Fatal(err)
	}
	return w, drivers.NewHandle(bus, 0x76)
}

func open(t *testing.T, h *drivers.Handle, raw map[string]any) drivers.Device {
	t.Helper()
	d, err := Driver{}.Open(t.Context(), h, proof.Checked(t, Driver{}, raw))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within {
		t.Errorf("%s: got %v, want %v within %v", what, got, want, within)
	}
}

// Goal: the whole range of the chip is read as the world has it, within the
// chip's resolution. Method: sweep, with full oversampling.
func TestRead_GivesWhatTheWorldHasOverTheWholeRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := board(t, nil)
		d := open(t, h, map[string]any{"oversampling": map[string]any{"temperature": 16, "pressure": 16, "humidity": 16}})
		for _, c := range []struct{ temperature, humidity, pressure string }{
			{"-39.5", "5", "320"}, {"-10", "20", "700.5"}, {"0", "35", "900"}, {"21.37", "50.5", "1013.25"}, {"60", "80", "1050"}, {"84", "95", "1090"},
		} {
			for q, v := range map[string]string{"temperature": c.temperature, "humidity": c.humidity, "pressure": c.pressure} {
				if err := w.Set("climate", q, v); err != nil {
					t.Fatal(err)
				}
			}
			want, err := w.Get("climate", "")
			if err != nil {
				t.Fatal(err)
			}
			got := proof.Values(t, d)
			near(t, "temperature at "+c.temperature, got["temperature"], want["temperature"].(float64), 0.011)
			near(t, "humidity at "+c.humidity, got["humidity"]*100, want["humidity"].(float64), 0.1)
			near(t, "pressure at "+c.pressure, got["pressure"], want["pressure"].(float64)*100, 6)
		}
	})
}

// registers is a dumb chip: fixed registers, for vectors from the datasheet.
type registers struct {
	reg [256]byte
	at  byte
}

func (r *registers) Name() string    { return "fixed" }
func (r *registers) Simulated() bool { return true }

func (r *registers) Tx(_ context.Context, _ uint16, w, b []byte) error {
	if len(w) == 1 {
		r.at = w[0]
	}
	for i := 0; len(w) > 1 && i+1 < len(w); i += 2 {
		r.reg[w[i]] = w[i+1]
	}
	copy(b, r.reg[r.at:])
	return nil
}

// The vector is the one calculation example that Bosch prints (BMP280
// datasheet BST-BMP280-DS001, section 3.12): adc_T 519888 and adc_P 415148
// compensate to 25.08 °C and 100653.27 Pa.
func TestRead_TheDatasheetsExampleCompensatesAsPrinted(t *testing.T) {
	chip := &registers{}
	chip.reg[0xd0] = 0x60
	for i, v := range []int{27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000} {
		binary.LittleEndian.PutUint16(chip.reg[0x88+2*i:], uint16(v))
	}
	put := func(at int, v uint32) {
		chip.reg[at], chip.reg[at+1], chip.reg[at+2] = byte(v>>12), byte(v>>4), byte(v<<4)
	}
	put(0xf7, 415148)
	put(0xfa, 519888)
	got := proof.Values(t, open(t, drivers.NewHandle(chip, 0x76), map[string]any{"oversampling": map[string]any{"humidity": 0}}))
	near(t, "temperature", got["temperature"], 25.08, 0.0001)
	near(t, "pressure", got["pressure"], 100653.27, 0.5)
	if _, ok := got["humidity"]; ok {
		t.Error("humidity is switched off and must not be read")
	}
}

func TestOpen_NamesTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			fault string
			want  error
		}{{"nack", drivers.ErrNACK}, {"stuck", drivers.ErrTimeout}, {"wrong-id", drivers.ErrWrongChip}, {"flip", drivers.ErrWrongChip}} {
			w, h := board(t, nil)
			if err := w.Fault("climate", c.fault, ""); err != nil {
				t.Fatal(err)
			}
			if _, err := (Driver{}).Open(t.Context(), h, proof.Checked(t, Driver{}, nil)); !errors.Is(err, c.want) {
				t.Errorf("fault %s: got %v, want %v", c.fault, err, c.want)
			}
		}
	})
}

func TestRead_NamesTheCauseThatPeriphFormatsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := board(t, nil)
		d := open(t, h, nil)
		for fault, want := range map[string]error{"nack": drivers.ErrNACK, "unplug": drivers.ErrUnplugged} {
			name := "climate"
			if fault == "unplug" {
				name = "board"
			}
			if err := w.Fault(name, fault, ""); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Read(t.Context()); !errors.Is(err, want) {
				t.Errorf("fault %s: got %v, want %v", fault, err, want)
			}
			if err := w.Fault(name, "none", ""); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestRead_EveryThirdTransactionRefusedIsHealedByRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := board(t, nil)
		d := open(t, h, nil)
		if err := w.Fault("climate", "nack", "3"); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			near(t, "temperature", proof.Values(t, d)["temperature"], 21, 0.02)
		}
	})
}

func TestRead_AChipThatLostItsSupplyIsSetUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, raw := range []map[string]any{nil, {"iir": 4}} {
			w, h := board(t, nil)
			d := open(t, h, raw)
			proof.Values(t, d)
			if err := w.Fault("climate", "power-loss", ""); err != nil {
				t.Fatal(err)
			}
			got := proof.Values(t, d)
			near(t, "humidity", got["humidity"], 0.5, 0.005)
			near(t, "temperature", got["temperature"], 21, 0.05)
		}
	})
}

// Goal: a chip that answers too late costs its deadline and no more. Method:
// virtual time.
func TestRead_EndsAtItsDeadlineOnASlowChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := board(t, nil)
		d := open(t, h, nil)
		if err := w.Fault("climate", "slow", "10s"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), maxRead)
		defer cancel()
		start := time.Now()
		_, err := d.Read(ctx)
		if !errors.Is(err, drivers.ErrTimeout) || time.Since(start) > maxRead {
			t.Errorf("got %v after %v; want a time-out after %v", err, time.Since(start), maxRead)
		}
	})
}

// Goal: the order of writes is the datasheet's: ctrl_hum and config before the
// last ctrl_meas, and forced mode only for a read. Method: record the bus.
func TestOpen_WritesSettingsInTheOrderOfTheDatasheet(t *testing.T) {
	_, h := board(t, nil)
	rec := &recorder{h: h}
	handle := drivers.NewHandle(rec, 0x76)
	d := open(t, handle, map[string]any{"oversampling": map[string]any{"temperature": 2, "pressure": 16, "humidity": 1}})
	rec.writes = nil
	proof.Values(t, d)
	if len(rec.writes) != 1 || rec.writes[0][0] != 0xf4 || rec.writes[0][1] != 2<<5|5<<2|1 {
		t.Errorf("a read wrote % x; want one ctrl_meas in forced mode", rec.writes)
	}
	if len(rec.first) != 8 || rec.first[2] != 0xf2 || rec.first[6] != 0xf4 {
		t.Errorf("set-up wrote % x; want ctrl_hum before the last ctrl_meas", rec.first)
	}
}

type recorder struct {
	h      *drivers.Handle
	first  []byte
	writes [][]byte
}

func (r *recorder) Name() string    { return "recorded" }
func (r *recorder) Simulated() bool { return true }

func (r *recorder) Tx(ctx context.Context, addr uint16, w, b []byte) error {
	if len(w) > 1 {
		if r.first == nil {
			r.first = append(r.first, w...)
		}
		r.writes = append(r.writes, append([]byte(nil), w...))
	}
	return r.h.Do(ctx, func() error { return r.h.Tx(addr, w, b) })
}

func TestDescribe_OptionsRefuseWhatTheChipCannotDo(t *testing.T) {
	_, problems := drivers.CheckOptions(Driver{}.Describe().Options, map[string]any{
		"oversampling": map[string]any{"temperature": 3}, "iir": 5, "osr": 1})
	if len(problems) != 3 {
		t.Errorf("got %v; want three problems", problems)
	}
}

// A chip that answers nonsense must never panic the driver.
func FuzzRead_AnyRegistersGiveAValueOrAnError(f *testing.F) {
	f.Add(make([]byte, 256))
	f.Fuzz(func(t *testing.T, image []byte) {
		chip := &registers{}
		copy(chip.reg[:], image)
		chip.reg[0xd0], chip.reg[0xf3] = 0x60, 0
		d, err := Driver{}.Open(t.Context(), drivers.NewHandle(chip, 0x77), proof.Checked(t, Driver{}, nil))
		if err != nil {
			return
		}
		list, err := d.Read(t.Context())
		for _, r := range list {
			if err == nil && (math.IsNaN(r.Value) || math.IsInf(r.Value, 0)) {
				t.Errorf("%s is %v", r.Channel, r.Value)
			}
		}
	})
}
