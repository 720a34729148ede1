# Writes data/rossi.csv (one row a man) and data/rossi_weekly.csv (one row a man and week) from the
# data set Rossi of the R package carData (3.0-5, GPL >= 2). Run it in this folder: Rscript make_data.R
library(carData)

yes <- function(x) as.integer(x == "yes")
men <- with(Rossi, data.frame(
  id = seq_along(week), week = week, arrest = arrest,
  fin = yes(fin), age = age,
  black = as.integer(race == "black"), other_race = as.integer(race == "other"),
  wexp = yes(wexp),
  married = as.integer(mar == "married"), not_married = as.integer(mar == "not married"),
  paro = yes(paro), prio = prio, educ = educ
))

# emp1 ... emp52: employment in each week, missing after the arrest.
employed <- sapply(Rossi[paste0("emp", 1:52)], yes)
weekly <- do.call(rbind, lapply(men$id, function(i) {
  last <- men$week[i]
  now <- unname(employed[i, seq_len(last)])
  data.frame(
    id = i, start = seq_len(last) - 1L, stop = seq_len(last),
    arrest = c(rep(0L, last - 1L), men$arrest[i]),
    men[i, c("fin", "age", "other_race", "wexp", "not_married", "paro", "prio")],
    employed = now, employed_last_week = c(NA, now[-last])[seq_len(last)],
    age_by_week = men$age[i] * seq_len(last), row.names = NULL
  )
}))
stopifnot(!anyNA(weekly$employed), nrow(weekly) == sum(!is.na(Rossi[paste0("emp", 1:52)])))

write <- function(data, file) {
  # In binary mode: the same bytes on every system.
  out <- file(file, "wb")
  write.csv(data, out, row.names = FALSE, na = "", quote = FALSE)
  close(out)
}
write(men, "data/rossi.csv")
write(weekly, "data/rossi_weekly.csv")
