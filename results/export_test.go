package results

// MaxSheetRows is the largest number of rows in a sheet.
var MaxSheetRows = &maxSheetRows
