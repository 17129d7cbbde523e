package canary

import "math"

// levels are the error rates for which the table of critical values has been made.
var levels = [...]float64{0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001}

// criticalRow holds, for a number of samples a side, how much evidence against each rho has to be exceeded at each
// level. Samples without a difference exceed the values of all rho at once with a chance of no more than the level,
// whatever rho is theirs. High rho are left out (0) where few samples could never tell them from a difference.
type criticalRow struct {
	n      float64
	values [len(closeness)][len(levels)]float32
}

// critical are the values that hold for one pair.
type critical struct {
	values [len(closeness)][len(levels)]float64
	known  int // so many rho are tried
}

// criticalFor interpolates between the rows of the table, in the logarithm of the number of samples. From the last row
// on its values stay: they fall slowly, so that they err on the safe side.
func criticalFor(n float64) critical {
	last := len(criticalTable) - 1
	low := 0
	for low < last && criticalTable[low+1].n <= n {
		low++
	}
	high := min(low+1, last)
	part := 0.0
	if high > low && n > criticalTable[low].n {
		part = math.Log(n/criticalTable[low].n) / math.Log(criticalTable[high].n/criticalTable[low].n)
	}
	var c critical
	for i := range closeness {
		if criticalTable[low].values[i][0] == 0 && criticalTable[low].values[i][len(levels)-1] == 0 {
			break
		}
		c.known = i + 1
		for j := range levels {
			a, b := float64(criticalTable[low].values[i][j]), float64(criticalTable[high].values[i][j])
			c.values[i][j] = a + part*(b-a)
		}
	}
	return c
}

// at is the critical value for a rho at a level. Beyond the table its last steps are carried on: the chance of more
// evidence falls exponentially.
func (c critical) at(i int, level float64) float64 {
	v := &c.values[i]
	if level >= levels[0] {
		return v[0]
	}
	j := 1
	for j < len(levels)-1 && level < levels[j] {
		j++
	}
	from := j - 1
	if level < levels[j] {
		from = j - tailSteps
	}
	slope := (v[j] - v[from]) / math.Log(levels[from]/levels[j])
	return v[j] + slope*math.Log(levels[j]/level)
}

// tailSteps is over how many steps of the table its end is carried on.
const tailSteps = 3

// chance is the inverse of at: how often there is so much evidence against this rho where there is no difference.
func (c critical) chance(i int, evidence float64) float64 {
	v := &c.values[i]
	if evidence <= v[0] {
		return 1
	}
	j := 1
	for j < len(levels)-1 && evidence > v[j] {
		j++
	}
	from := j - 1
	if evidence > v[j] {
		from = j - tailSteps
	}
	slope := (v[j] - v[from]) / math.Log(levels[from]/levels[j])
	return levels[j] * math.Exp((v[j]-evidence)/slope)
}

// chance is how often samples without a difference look at least as different as these do: the p-value, two-sided, at
// the rho for which it is largest.
func (p pair) chance() float64 {
	c, most := criticalFor(p.smaller), 0.0
	for i := range c.known {
		most = max(most, c.chance(i, p.evidence(i)))
	}
	return most
}

// interval holds every shift that some rho leaves possible at the level: none of them would be told from no difference if
// it were taken off the canary. If there is none, because the canary drifts and no steady
// shift fits, it is the one that two levels give at their best rho.
func (p pair) interval(level float64) (lower, upper float64) {
	c := criticalFor(p.smaller)
	lower, upper = math.Inf(1), math.Inf(-1)
	for i := range c.known {
		reach, some := p.reach(i, c.at(i, level))
		if some {
			lower, upper = min(lower, p.shift[i]-reach), max(upper, p.shift[i]+reach)
		}
	}
	if lower <= upper {
		return lower, upper
	}
	reach := normalQuantile(1-level/2) * math.Sqrt(p.rest[p.best]/max(1, p.n-3)/p.precision[p.best])
	return p.shift[p.best] - reach, p.shift[p.best] + reach
}

// reach is how far a shift may be from the likeliest at a rho with no more evidence against it than given.
func (p pair) reach(i int, evidence float64) (float64, bool) {
	rho := closeness[i]
	most := math.Exp(2 / p.n * (evidence - p.apart + math.Log(1-rho*rho)))
	if most < p.rest[i] {
		return 0, false
	}
	return math.Sqrt((most - p.rest[i]) / p.precision[i]), true
}
