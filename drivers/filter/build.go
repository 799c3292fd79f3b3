package filter

import (
	"math"
	"time"
)

func (a *args) linear() step {
	points := a.points(a.raw)
	if len(points) < 2 {
		a.fail("", "want at least two [raw, true] pairs")
		return nil
	}
	return piecewise(points)
}

// polynomial takes coefficients [c0, c1, c2 ...], or {degree, points} to fit.
func (a *args) polynomial() step {
	if c, ok := numbers(a.raw); ok && len(c) > 0 {
		return polynomial(c)
	}
	if _, ok := a.raw.(map[string]any); !ok {
		a.fail("", "want coefficients [c0, c1, c2] or {degree: 2, points: [[raw, true], ...]}")
		return nil
	}
	a.members("degree", "points")
	degree, points := a.whole("degree", 1, 6), a.points(a.at("points"))
	if len(points) <= degree {
		a.fail("points", "degree %d needs at least %d points", degree, degree+1)
		return nil
	}
	c, ok := fit(points, degree)
	if !ok {
		a.fail("points", "these points determine no polynomial of degree %d", degree)
		return nil
	}
	return polynomial(c)
}

func (a *args) mapRange() step {
	a.members("from", "to")
	from, okFrom := numbers(a.at("from"))
	to, okTo := numbers(a.at("to"))
	if !okFrom || !okTo || len(from) != 2 || len(to) != 2 || from[0] == from[1] {
		a.fail("", "want {from: [low, high], to: [low, high]} with two different values in from")
		return nil
	}
	points := []point{{from[0], to[0]}, {from[1], to[1]}}
	return piecewise(points)
}

func (a *args) clamp() step {
	m := a.members("min", "max")
	low, high := math.Inf(-1), math.Inf(1)
	if m["min"] != nil {
		low = a.number("min")
	}
	if m["max"] != nil {
		high = a.number("max")
	}
	if len(m) == 0 || low > high {
		a.fail("", "want min, max or both, min not above max")
	}
	return clamp(low, high)
}

// window reads {window, every, keep} and any further members.
func (a *args) window(reduce func([]float64) float64, further ...string) step {
	a.members(append([]string{"window", "every", "keep"}, further...)...)
	return &window{size: a.whole("window", 1, windowMax), every: a.every(), keep: a.flag("keep"), reduce: reduce}
}

func (a *args) every() int {
	if a.at("every") == nil {
		return 1
	}
	return a.whole("every", 1, windowMax)
}

func (a *args) exponential() step {
	a.members("alpha", "every", "keep")
	alpha := a.share("alpha")
	if alpha == 0 {
		a.fail("alpha", "0 would never follow the signal")
	}
	return &exponential{alpha: alpha, every: a.every(), keep: a.flag("keep")}
}

// rate takes {per: s}: s, min, h or a duration.
func (a *args) rate() step {
	a.members("per")
	switch text, _ := a.at("per").(string); text {
	case "s":
		return &rate{per: time.Second}
	case "min":
		return &rate{per: time.Minute}
	case "h":
		return &rate{per: time.Hour}
	}
	return &rate{per: a.duration("per")}
}

func (a *args) outlier() step {
	a.members("window", "sigma", "keep")
	sigma := a.number("sigma")
	if sigma <= 0 {
		a.fail("sigma", "want more than 0")
	}
	return &outlier{size: a.whole("window", 2, windowMax), sigma: sigma, keep: a.flag("keep")}
}

func (a *args) filterOut() step {
	if text, ok := a.raw.(string); ok && (text == "nan" || text == "NaN") {
		return filterOut{math.NaN()}
	}
	if v, ok := a.raw.(float64); ok && math.IsNaN(v) {
		return filterOut{v}
	}
	return filterOut{a.number("")}
}

func (a *args) delta() step {
	if share, ok := percent(a.raw); ok {
		if share < 0 {
			a.fail("", "want 0%% or more")
		}
		return &delta{step: share, percent: true}
	}
	d := &delta{step: a.number("")}
	if d.step < 0 {
		a.fail("", "want 0 or more")
	}
	return d
}

// throttleAverage takes a duration, or {period, keep}.
func (a *args) throttleAverage() step {
	if _, ok := a.raw.(map[string]any); ok {
		a.members("period", "keep")
		return &throttleAverage{period: a.duration("period"), keep: a.flag("keep")}
	}
	return &throttleAverage{period: a.duration("")}
}
