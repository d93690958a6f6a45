package results

// MaxSheetRows is the bound of a sheet.
var MaxSheetRows = &maxSheetRows
