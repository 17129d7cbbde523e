package canary

import "math"

// Looks share one error rate. A canary that is refused at any look is refused, so each look alone must be held to less,
// but to more than an even share, as looks at mostly the same samples mostly agree. The bounds are those of Wang and
// Tsiatis, Approximately Optimal One-Parameter Boundaries for Group Sequential Trials (Biometrics, 1987): at look k of
// K the statistic has to exceed C·(k/K)^(shape−½), and C is such that chance exceeds it at some look with the rate that
// was asked for. Shape ½ is Pocock's bound, the same at every look; above it, more is spent early, when a canary that is
// clearly bad has cost little.

const (
	earlyShape, earlyRate     = 0.6, 0.03  // with few metrics
	evenShape, evenRate       = 0.5, 0.001 // with many, of which the first looks could say little anyhow
	smallestRate, largestRate = 1e-8, 0.5
)

// shapeFor is the shape of the bounds for an error rate.
func shapeFor(rate float64) float64 {
	part := math.Log(rate/evenRate) / math.Log(earlyRate/evenRate)
	return evenShape + (earlyShape-evenShape)*min(1, max(0, part))
}

// levelAt is the two-sided error rate for one look so that all looks together have the rate.
func levelAt(rate float64, look, looks int) float64 {
	rate = min(largestRate, max(smallestRate, rate))
	bound := boundFor(rate, looks)
	if last := boundLooks[len(boundLooks)-1]; looks > last {
		// The bound at the first look hardly changes any more.
		bound = max(bound, boundFor(rate, last)*math.Pow(float64(looks)/float64(last), shapeFor(rate)-0.5))
	}
	return math.Erfc(bound * math.Pow(float64(look)/float64(looks), shapeFor(rate)-0.5) / math.Sqrt2)
}

// boundFor interpolates C in the table, by the logarithm of the looks and of the rate. Beyond the last number of looks
// it grows on as it did.
func boundFor(rate float64, looks int) float64 {
	i, across := place(math.Log(float64(looks)), len(boundLooks), func(i int) float64 { return math.Log(float64(boundLooks[i])) })
	j, down := place(-math.Log(rate), len(boundRates), func(j int) float64 { return -math.Log(boundRates[j]) })
	at := func(i int) float64 { return boundTable[i][j] + down*(boundTable[i][j+1]-boundTable[i][j]) }
	return at(i) + across*(at(i+1)-at(i))
}

// place is between which two of the ascending values x lies, and how far; beyond the ends the outer two go on.
func place(x float64, n int, value func(int) float64) (int, float64) {
	i := 0
	for i < n-2 && x > value(i+1) {
		i++
	}
	return i, (x - value(i)) / (value(i+1) - value(i))
}
