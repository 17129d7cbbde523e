package canary

import (
	"math"
	"math/rand/v2"
	"testing"
)

// noise is what is left of samples if each is what rho makes of the one before, and noise; the squares of it.
func noise(rho float64, samples []float64, fitted func(i int) float64) float64 {
	first := samples[0] - fitted(0)
	sum := (1 - rho*rho) * first * first
	for i := 1; i < len(samples); i++ {
		e := samples[i] - fitted(i) - rho*(samples[i-1]-fitted(i-1))
		sum += e * e
	}
	return sum
}

func TestLevelsLeaveTheLeastSquares(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b, c := follow(random, 12, 0.4), follow(random, 15, 0.4)
	p := compare(momentsOf(b), momentsOf(c))
	for i, rho := range closeness {
		squares := func(level, shift float64) float64 {
			return noise(rho, b, func(int) float64 { return level }) + noise(rho, c, func(int) float64 { return level + shift })
		}
		if got := squares(p.level[i], p.shift[i]); math.Abs(got-p.rest[i]) > 1e-9 {
			t.Errorf("at rho %v %v squares are left, not %v", rho, p.rest[i], got)
		}
		for _, off := range []float64{-1e-3, 1e-3} {
			if squares(p.level[i]+off, p.shift[i]-off) < p.rest[i] || squares(p.level[i], p.shift[i]+off) < p.rest[i] {
				t.Errorf("at rho %v others leave fewer squares than the levels", rho)
			}
		}
	}
}

func TestDriftLeavesTheLeastSquares(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	b, c := follow(random, 12, 0.4), follow(random, 15, 0.4)
	for i := range c {
		c[i] += float64(i) / 3
	}
	mb, mc := momentsOf(b), momentsOf(c)
	p := compare(mb, mc)
	for i, rho := range closeness {
		squares := func(level, drift float64) float64 {
			return noise(rho, b, func(int) float64 { return level }) +
				noise(rho, c, func(i int) float64 { return level + drift*(float64(i)+0.5)/float64(len(c)) })
		}
		if got, want := p.drifting(i, mc.at(rho)), bottom(squares); math.Abs(got-want) > 1e-9*(1+want) {
			t.Errorf("at rho %v %v squares are left, not %v", rho, got, want)
		}
	}
}

func TestJumpLeavesTheLeastSquares(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 2))
	b, c := follow(random, 12, 0.4), follow(random, 30, 0.4)
	for i := range c[10:] {
		c[10+i] += 9
	}
	mb, mc := momentsOf(b), momentsOf(c)
	p := compare(mb, mc)
	for i, rho := range closeness {
		for at := 1; at < len(c); at++ {
			later := 0.0
			for _, x := range c[at+1:] {
				later += x - mc.centre
			}
			squares := func(level, jump float64) float64 {
				return noise(rho, b, func(int) float64 { return level }) + noise(rho, c, func(i int) float64 {
					if i < at {
						return level
					}
					return level + jump
				})
			}
			if got, want := p.jumpAt(i, mc.step(rho, moment{at, later}), mc.at(rho)).rest, bottom(squares); math.Abs(got-want) > 1e-9*(1+want) {
				t.Errorf("at rho %v with a jump at %d %v squares are left, not %v", rho, at, got, want)
			}
		}
	}
	if !p.jump.plain() || p.jump.at != 10 {
		t.Errorf("the likeliest is %+v, want a jump at 10", p.jump)
	}
}

// bottom is the least of a bowl over two numbers, which follows from six of its points.
func bottom(of func(x, y float64) float64) float64 {
	x, xx, y, yy, xy, none := of(1, 0), of(-1, 0), of(0, 1), of(0, -1), of(1, 1), of(0, 0)
	px, py, a, d := (x-xx)/2, (y-yy)/2, (x+xx)/2-none, (y+yy)/2-none
	e := (xy - none - px - py - a - d) / 2
	return of((-px*d+py*e)/(2*(a*d-e*e)), (-py*a+px*e)/(2*(a*d-e*e)))
}

// TestCriticalValuesHold draws anew what the table was made of. The bound is four standard errors above the level.
func TestCriticalValuesHold(t *testing.T) {
	const draws, level = 3000, 0.05
	for _, n := range []int{10, 25, 60} {
		for _, rho := range []float64{0, 0.35, 0.8} {
			random := rand.New(rand.NewPCG(uint64(n), 99))
			found := 0
			for range draws {
				if compare(momentsOf(follow(random, n, rho)), momentsOf(follow(random, n, rho))).chance() <= level {
					found++
				}
			}
			if most := draws*level + 4*math.Sqrt(draws*level*(1-level)); float64(found) > most {
				t.Errorf("%d samples that follow each other by %v differ in %d of %d pairs", n, rho, found, draws)
			}
		}
	}
}

// TestBoundsAreThePublishedOnes compares with Jennison and Turnbull, Group Sequential Methods (2000), tables 2.1 and 2.3,
// for an error rate of 0.05.
func TestBoundsAreThePublishedOnes(t *testing.T) {
	for _, c := range []struct {
		looks        int
		shape, bound float64
	}{{2, 0.5, 2.178}, {5, 0.5, 2.413}, {10, 0.5, 2.555}, {5, 0, 2.040}, {10, 0, 2.087}} {
		if got := crossing(c.bound, c.shape, c.looks); math.Abs(got-0.05) > 2e-4 {
			t.Errorf("%d looks with shape %v are outside of %v with chance %v", c.looks, c.shape, c.bound, got)
		}
	}
	for _, looks := range []int{6, 24} {
		for _, rate := range []float64{0.035, 0.0035} {
			if got := crossing(boundFor(rate, looks), shapeFor(rate), looks); math.Abs(got/rate-1) > 0.02 {
				t.Errorf("the table gives %d looks a rate of %v, and it is %v", looks, rate, got)
			}
		}
	}
}

func TestMoreLooksLeaveLessForEach(t *testing.T) {
	for _, rate := range []float64{0.05, 0.01, 0.001, 1e-5} {
		before := 1.0
		for _, looks := range []int{1, 2, 6, 24, 100, 288, 289, 1000, 100_000} {
			first := levelAt(rate, 1, looks)
			if !(first > 0 && first <= before*1.001) || first > rate*1.001 {
				t.Errorf("of %v the first of %d looks has %v, after %v", rate, looks, first, before)
			}
			before = first
		}
	}
}
