# Makes the reference values of this folder with R's survival package.
#   Rscript tests/reference/make_reference.R      (Debian packages r-base-core, r-cran-survival)
# Reads cox_models.csv, writes data/*.csv (data sets that survival ships) and cox_values.csv.
library(survival)
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
save_data <- function(d, name) {
  write.csv(format(d, digits = 17, trim = TRUE), file.path(folder, "data", paste0(name, ".csv")),
            row.names = FALSE, quote = FALSE)
  d
}
number <- function(x) as.numeric(as.character(x))

sets <- list()
h <- heart
sets$heart <- data.frame(id = h$id, start = h$start, stop = h$stop, event = h$event, age = h$age,
                         year = h$year, surgery = h$surgery, transplant = number(h$transplant))
g <- cgd
sets$cgd <- data.frame(id = g$id, tstart = g$tstart, tstop = g$tstop, status = g$status,
                       treat = as.integer(g$treat == "rIFN-g"), age = g$age, steroids = as.integer(g$steroids),
                       inherit = as.integer(g$inherit == "autosomal"),
                       center = as.integer(g$center), hos_cat = as.integer(g$hos.cat))
b <- bladder2
sets$bladder2 <- data.frame(id = b$id, start = b$start, stop = b$stop, event = b$event, rx = b$rx,
                            size = b$size, number = b$number, enum = b$enum)
p <- pbcseq
last <- !duplicated(p$id, fromLast = TRUE)
p$tstop <- c(p$day[-1], NA)
p$tstop[last] <- p$futime[last]
p$death <- as.integer(last & p$status == 2)
p <- p[p$tstop > p$day & !is.na(p$protime), ]
sets$pbcseq <- data.frame(id = p$id, tstart = p$day, tstop = p$tstop, death = p$death, logbili = log(p$bili),
                          protime = p$protime, age = p$age, edema = p$edema)
l <- lung[complete.cases(lung[, c("time", "age", "sex", "ph.ecog", "inst")]), ]
sets$lung <- data.frame(time = l$time, event = l$status - 1, age = l$age, sex = l$sex, ph_ecog = l$ph.ecog,
                        inst = l$inst, case = 1 + (seq_len(nrow(l)) %% 4) / 2, shift = (l$age - 60) / 50)
v <- veteran
sets$veteran <- data.frame(time = v$time, status = v$status, trt = v$trt, karno = v$karno,
                           diagtime = v$diagtime, age = v$age, prior = v$prior, cell = as.integer(v$celltype))
r <- rats
sets$rats <- data.frame(litter = r$litter, rx = r$rx, time = r$time, status = r$status,
                        female = as.integer(r$sex == "f"))
k <- kidney
sets$kidney <- data.frame(id = k$id, time = k$time, status = k$status, age = k$age,
                          female = as.integer(k$sex == 2), frail = k$frail)
o <- ovarian
sets$ovarian <- data.frame(futime = o$futime, fustat = o$fustat, age = o$age, resid_ds = o$resid.ds, rx = o$rx)
m <- mgus2[!is.na(mgus2$hgb) & mgus2$futime > 3, ]
sets$mgus2 <- data.frame(entry = m$id %% 4, futime = m$futime, death = m$death, age = m$age,
                         female = as.integer(m$sex == "F"), hgb = m$hgb, decade = m$dxyr %/% 5)
for (name in names(sets)) save_data(sets[[name]], name)

models <- read.csv(file.path(folder, "cox_models.csv"), colClasses = "character")
control <- coxph.control(eps = 1e-14, toler.chol = 1e-13, iter.max = 100)
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))
for (i in seq_len(nrow(models))) {
  spec <- models[i, ]
  # Values as the test reads them: from the file, not from memory.
  d <- read.csv(file.path(folder, "data", paste0(spec$data, ".csv")))
  column <- function(name) if (name == "") NULL else d[[name]]
  d$.offset <- if (spec$offset == "") 0 else d[[spec$offset]]
  text <- if (spec$offset == "") spec$formula else paste(spec$formula, "+ offset(.offset)")
  arguments <- list(as.formula(text), data = d, ties = spec$ties, control = control)
  if (spec$weights != "") arguments$weights <- d[[spec$weights]]
  if (spec$cluster != "") arguments$cluster <- d[[spec$cluster]] else arguments$robust <- FALSE
  fit <- do.call(coxph, arguments)
  terms <- gsub(":", ":", names(coef(fit)))
  naive <- if (is.null(fit$naive.var)) fit$var else fit$naive.var
  for (a in seq_along(terms)) {
    add(spec$model, "coef", terms[a], "", coef(fit)[a])
    add(spec$model, "std_error", terms[a], "", sqrt(fit$var[a, a]))
    for (b in seq_along(terms)) {
      add(spec$model, "vcov", terms[a], terms[b], fit$var[a, b])
      add(spec$model, "vcov_model", terms[a], terms[b], naive[a, b])
    }
  }
  add(spec$model, "loglik_null", "", "", fit$loglik[1])
  add(spec$model, "loglik", "", "", fit$loglik[2])
  add(spec$model, "n_obs", "", "", fit$n)
  add(spec$model, "n_event", "", "", sum(fit$y[, ncol(fit$y)]))
}
write.csv(do.call(rbind, out), file.path(folder, "cox_values.csv"), row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("survival", packageVersion("survival"))), file.path(folder, "versions.txt"))
