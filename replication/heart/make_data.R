# Writes data/heart.csv (one row a patient and state: waiting, transplanted) from the data set jasa1 of
# the R package survival (3.5-3, LGPL >= 2). Run it in this folder: Rscript make_data.R
library(survival)

data <- jasa1[c("id", "start", "stop", "event", "transplant", "age", "year", "surgery")]
# Interactions are columns: a specification names columns, it has no formulas.
for (name in c("age", "year", "surgery")) data[[paste0(name, "_transplant")]] <- data[[name]] * data$transplant

# In binary mode: the same bytes on every system.
out <- file("data/heart.csv", "wb")
write.csv(data, out, row.names = FALSE, quote = FALSE)
close(out)
