//go:build depstmp

package main

func main() {}
