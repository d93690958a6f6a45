// Package schedule knows when class lists are due and where they come from:
// cron expressions in time zones, and sources that are read at each tick. It
// does not touch Redis; package worker makes the ticks.
package schedule
